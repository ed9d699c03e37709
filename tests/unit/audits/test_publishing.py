"""Publishing: what a gateway gets, what a collector reads, and that nobody is named."""

from __future__ import annotations

import datetime as dt
import urllib.request
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from audits.drift import audit_drift
from audits.population import grouped
from audits.publishing import AUDITS, Result, drift_result, job_of, push, retire
from model_registry.publishing import write_textfile
from tests.support.drift import frozen_model, people, table_of
from tests.support.gateway import Gateway
from tests.support.polling import PATIENCE_SECONDS
from tests.support.prometheus import pushgateway

if TYPE_CHECKING:
    from pathlib import Path

RESULT = Result(
    audit="fairness",
    model="churn",
    verdict="PASS",
    finished=1.5e9,
    seconds=2.5,
    disparities={("churn_probability", "tpr_gap", "age", "65+"): 0.04},
    rows={("age", "65+"): 72},
)


def series(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by metric and by labels beyond model and audit, sorted by their names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("model"), labels.pop("audit")) == ("churn", RESULT.audit)
            found.setdefault(sample.name, {})[tuple(labels[name] for name in sorted(labels))] = sample.value
    return found


def test_a_push_replaces_the_group_of_its_job_and_model() -> None:
    gateway = Gateway()
    with gateway.listening() as url:
        push(RESULT, url)
    ((method, path, body),) = gateway.calls
    assert (method, path) == ("PUT", "/metrics/job/regulars_audit_fairness/model/churn")
    assert "instance" not in body
    assert series(body) == {
        "regulars_audit_last_success_timestamp_seconds": {(): 1.5e9},
        "regulars_audit_duration_seconds": {(): 2.5},
        "regulars_audit_verdict": {("PASS",): 1.0},
        "regulars_audit_disparity": {("age", "65+", "tpr_gap", "churn_probability"): 0.04},
        "regulars_audit_rows": {("age", "65+"): 72.0},
    }


def test_a_retired_model_is_deleted_from_the_group_of_every_audit() -> None:
    gateway = Gateway()
    with gateway.listening() as url:
        retire("cltv", url)
    assert [(method, path) for method, path, _ in gateway.calls] == [
        ("DELETE", f"/metrics/job/regulars_audit_{audit}/model/cltv") for audit in ("drift", "fairness")
    ]


def test_a_text_file_holds_the_same_and_replaces_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "churn.prom"
    file.write_text("regulars_audit_rows 9\n")
    write_textfile(RESULT, file)
    assert series(file.read_text())["regulars_audit_verdict"] == {("PASS",): 1.0}
    assert "job=" not in file.read_text(), "the collector's own label"
    assert [path.name for path in tmp_path.iterdir()] == ["churn.prom"]


def test_a_drift_audit_publishes_what_moved_and_no_small_group_and_nobody(tmp_path: Path) -> None:
    columns = people(1500, seed=1)
    columns.numeric[:, 0] = 33.25
    kinds = grouped("kind", pa.array(["few"] * 5 + ["many"] * 1495))
    report = audit_drift(frozen_model(people(2000, seed=0)), "3", table_of(columns), dt.date(2017, 12, 31), [kinds])
    result = drift_result(report, finished=1.5e9, seconds=0.5)
    assert (result.audit, result.model, result.verdict) == ("drift", "churn", "DRIFTED")
    assert result.moved == {"inputs": 1, "outputs": int(report.outputs[0].drifted)}
    assert result.rows == {("kind", "many"): 1495}
    write_textfile(result, tmp_path / "drift.prom")
    text = (tmp_path / "drift.prom").read_text()
    assert "c00001" not in text
    assert "33.25" not in text


def test_every_audit_is_a_job_of_its_own() -> None:
    # A push replaces all of a job's group: in one job, the later audit would wipe out the other.
    assert len({job_of(audit) for audit in AUDITS}) == len(AUDITS)


@pytest.mark.prometheus
def test_a_real_pushgateway_takes_replaces_and_forgets(tmp_path: Path) -> None:
    with pushgateway(tmp_path) as url:

        def ours() -> list[str]:
            with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE_SECONDS) as page:
                lines: list[str] = page.read().decode().splitlines()
            return [line for line in lines if line.startswith("regulars_") and 'model="churn"' in line]

        push(RESULT, url)
        drift = Result("drift", "churn", "STABLE", 1.5e9, 1.0, moved={"inputs": 3})
        push(drift, url)
        assert any('job="regulars_audit_fairness"' in line and 'verdict="PASS"' in line for line in ours())
        push(Result("drift", "churn", "DRIFTED", 1.6e9, 1.0), url)
        assert not any("STABLE" in line or 'part="inputs"' in line for line in ours()), "the push before is replaced"
        retire("churn", url)
        assert ours() == []
