"""regulars audit fairness: what the screen says, and the exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli import audit as module
from cli.main import main
from tests.fakes.registry import FakeRegistry
from tests.support.audited import shop, spent_bundle

if TYPE_CHECKING:
    from pathlib import Path

WAIVER = """
[[audits.waivers]]
model = "churn"
finding = "churn_probability"
reason = "a pilot"
by = "Ada Lovelace"
expires = 2999-12-31
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop with a candidate that says nothing of anybody: everybody's risk is one in eight, so its level is off."""
    monkeypatch.setattr("audits.statistics.RESAMPLES", 100)
    bundle = spent_bundle(tmp_path / "bundle", weight=0.0)
    registry = FakeRegistry()
    registry.add("4", bundle.digest, bundle=tmp_path / "bundle")
    registry.place("candidate", "4")
    monkeypatch.setattr(module, "MlflowRegistry", lambda uri, must_exist: registry)
    return shop(tmp_path)


def audit(project: Path, *words: str) -> int:
    return main(["audit", "fairness", *words, "--project", str(project)])


def test_what_blocks_is_told_by_name_with_its_figure_and_what_to_do(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(project, "churn") == 1
    said = capsys.readouterr()
    assert "churn_probability/observed_expected/gender/f" in said.out
    assert "0.8 to 1.25" in said.out
    assert "churn version 4: FAIL. Of " in said.out
    assert "what to do: Do not promote this version" in said.out
    assert "report: audits/fairness/2024-05-24/fairness.html of run" in said.err


def test_a_failure_is_not_waived_by_the_beginning_of_its_name(project: Path) -> None:
    project.write_text(project.read_text() + WAIVER)
    assert audit(project, "churn") == 1


def test_the_result_is_published(project: Path, tmp_path: Path) -> None:
    audit(project, "churn", "--textfile", str(tmp_path / "fairness.prom"))
    text = (tmp_path / "fairness.prom").read_text()
    assert 'regulars_audit_verdict{audit="fairness",model="churn",verdict="FAIL"} 1.0' in text


@pytest.mark.parametrize(
    ("target", "says"), [("fraud", "there is no model fraud"), ("churn@previous", "churn has no previous")]
)
def test_a_target_that_is_none_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], target: str, says: str
) -> None:
    assert audit(project, target) == 1
    assert says in capsys.readouterr().err
