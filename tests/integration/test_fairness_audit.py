"""A fairness audit as it is run: a shop trains churn, the command audits the candidate, MLflow keeps what came out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from cli.main import main
from features.project import load_project
from model_registry.clearance import audit_verdict
from model_registry.mlflow_registry import MlflowRegistry, open_client
from model_registry.registry import CANDIDATE
from tests.support.audited import shop

if TYPE_CHECKING:
    from pathlib import Path

    from model_registry.registry import RegisteredVersion

WAIVER = """
[[audits.waivers]]
model = "churn"
finding = "churn_probability"
reason = "a corner shop has no more customers"
by = "Ada Lovelace"
expires = 2999-12-31
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = shop(tmp_path_factory.mktemp("shop"))
    assert main(["train", "churn", "--project", str(file)]) == 0
    return file


def candidate(project: Path) -> RegisteredVersion:
    version = MlflowRegistry(load_project(project).registry.tracking_uri).resolve("churn", CANDIDATE)
    assert version is not None
    return version


def test_an_undecided_audit_blocks_and_a_waiver_answers_for_it(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine hundred customers of whom gender and age say nothing: no group is treated worse, and few can be shown so."""
    words = ["audit", "fairness", "churn", "--project", str(project), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "INCONCLUSIVE" in said
    assert "churn_probability/tpr_gap/" in said
    assert audit_verdict(candidate(project)) == "INCONCLUSIVE"

    project.write_text(project.read_text() + WAIVER)
    assert main(words) == 0
    assert audit_verdict(candidate(project)) == "PASS"
    record = json.loads((tmp_path / "out" / "fairness.json").read_text())
    assert record["verdict"] == "PASS"
    assert {one["waiver"]["by"] for one in record["findings"] if one["waiver"]} == {"Ada Lovelace"}
    assert {group["attribute"] for group in record["outputs"][0]["breakdowns"]} == {"gender", "age", "gender & age"}

    kept = open_client(load_project(project).registry.tracking_uri)
    folder = f"audits/fairness/{record['population']['snapshot']}"
    files = [one.path for one in kept.list_artifacts(candidate(project).run_id, folder)]
    assert files == [f"{folder}/fairness.html", f"{folder}/fairness.json"]
