from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from audits.statistics import Verdict
from model_registry.clearance import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Waived,
    audit_verdict,
    clearance_notes,
    is_cleared,
    verdict_notes,
    waived_until,
    waiver_has_expired,
)
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


def test_a_verdict_hangs_on_its_waivers_until_the_first_expires() -> None:
    lasting = noted(verdict_notes(VERSION, PASS, Waived(FAIL, date.max)))
    assert (audit_verdict(lasting), waived_until(lasting), waiver_has_expired(lasting)) == (PASS, "9999-12-31", False)
    assert is_cleared(lasting)
    today = datetime.now(UTC).date()
    expired = noted(verdict_notes(VERSION, PASS, Waived(FAIL, today)))
    assert (audit_verdict(expired), waived_until(expired), waiver_has_expired(expired)) == (FAIL, str(today), True)
    assert not is_cleared(expired, allow_unaudited=True)


def test_a_promotion_outlasts_the_waivers_of_its_audit() -> None:
    audit = verdict_notes(VERSION, PASS, Waived(FAIL, date.min))
    assert is_cleared(noted(audit, clearance_notes(VERSION, "fairness audit: PASS, pass")))


def test_an_audit_that_needs_no_waiver_takes_the_place_of_one_that_did() -> None:
    version = noted(verdict_notes(VERSION, PASS, Waived(FAIL, date.min)), verdict_notes(VERSION, PASS))
    assert (audit_verdict(version), waived_until(version), waiver_has_expired(version)) == (PASS, "", False)


def test_the_waivers_of_another_bundle_are_none() -> None:
    version = noted(verdict_notes(RETRAINED, PASS, Waived(FAIL, date.max)))
    assert (audit_verdict(version), waived_until(version), waiver_has_expired(version)) == ("", "", False)


def test_a_registry_that_fails_on_the_way_leaves_no_verdict_without_what_it_hangs_on() -> None:
    before, now = verdict_notes(VERSION, INCONCLUSIVE), verdict_notes(VERSION, PASS, Waived(FAIL, date.min))
    for written in range(len(now)):
        assert audit_verdict(noted(before, dict(list(now.items())[:written]))) in {INCONCLUSIVE, FAIL}


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
