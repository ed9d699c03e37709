"""What a run publishes: counts and figures by model, and nobody."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.batch.publishing import JOB, result_of
from services.batch.run import Identity, Summary
from services.batch.summary import OutputDrift

SUMMARY = Summary(
    identity=Identity(input={"files": ["c00001.csv"]}, models={}, carried=[]),
    rows=10,
    rejected=1,
    statuses={"cltv": {"OK": 9}, "churn": {"INACTIVE": 2, "OK": 7}},
    bands={},
    bins={},
    parts=1,
    drifts=(
        OutputDrift("churn", "churn_probability", (0.5, 0.5), (0.4, 0.6), psi=0.25, limit=0.1, is_sufficient=True),
    ),
    scored_now=4,
    seconds=2.5,
)


def test_what_is_published() -> None:
    registry = CollectorRegistry()
    result = result_of(SUMMARY, finished=1.5e9)
    registry.register(result)
    page = generate_latest(registry).decode()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("models") == "churn,cltv", "in whatever order they were named"
            found.setdefault(sample.name, {})[tuple(labels.values())] = sample.value
    assert found == {
        "regulars_batch_last_success_timestamp_seconds": {(): 1.5e9},
        "regulars_batch_duration_seconds": {(): 2.5},
        "regulars_batch_rows": {("cltv", "ok"): 9.0, ("churn", "inactive"): 2.0, ("churn", "ok"): 7.0},
        "regulars_batch_rejected_rows": {(): 1.0},
        "regulars_batch_score_psi": {("churn", "churn_probability"): 0.25},
    }
    assert "c00001" not in page
    assert (JOB, result.grouping) == ("regulars_batch", {"models": "churn,cltv"})
