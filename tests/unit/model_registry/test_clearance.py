from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from audits.statistics import Verdict
from model_registry.clearance import FAIL, INCONCLUSIVE, PASS, audit_verdict, clearance_notes, is_cleared, verdict_notes
from model_registry.registry import RegisteredVersion

VERSION = RegisteredVersion("churn", "3", "run", "a" * 64, datetime.now(UTC))
RETRAINED = replace(VERSION, digest="b" * 64)


def noted(*notes: dict[str, str]) -> RegisteredVersion:
    return replace(VERSION, notes={key: value for some in notes for key, value in some.items()})


def test_the_verdicts_are_those_of_the_audits() -> None:
    assert {verdict.value for verdict in Verdict} == {PASS, FAIL, INCONCLUSIVE}


@pytest.mark.parametrize("verdict", [PASS, FAIL, INCONCLUSIVE])
def test_a_verdict_is_that_of_one_bundle(verdict: str) -> None:
    assert audit_verdict(noted(verdict_notes(VERSION, verdict))) == verdict
    assert audit_verdict(noted(verdict_notes(RETRAINED, verdict))) == ""
    assert audit_verdict(VERSION) == ""


@pytest.mark.parametrize(
    ("verdict", "cleared", "cleared_unaudited"),
    [(PASS, True, True), (INCONCLUSIVE, False, True), (FAIL, False, False), ("", False, True)],
)
def test_what_an_audit_clears(verdict: str, cleared: bool, cleared_unaudited: bool) -> None:
    version = noted(verdict_notes(VERSION, verdict)) if verdict else VERSION
    assert is_cleared(version) == cleared
    assert is_cleared(version, allow_unaudited=True) == cleared_unaudited


def test_a_promotion_clears_its_bundle_whatever_a_later_audit_says() -> None:
    promoted = clearance_notes(VERSION, "fairness audit: INCONCLUSIVE, overridden by Ada")
    assert is_cleared(noted(promoted))
    assert is_cleared(noted(promoted, verdict_notes(VERSION, FAIL)))
    assert not is_cleared(noted(clearance_notes(RETRAINED, "fairness audit: PASS, pass")))
