"""What docs/metrics.md asks of Prometheus must be there to be asked."""

from __future__ import annotations

import re

import pytest

from cli.reference import ROOT
from services.batch.publishing import Result
from services.core.metrics import FAMILIES

PAGE = (ROOT / "docs" / "metrics.md").read_text()
QUERIES = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
KNOWN_EVERYWHERE = {"instance", "le"}

BATCH = {
    family.name: {label for sample in family.samples for label in sample.labels}
    for family in Result("churn", 0.0, 0.0, 0, {("churn", "ok"): 1}, {("churn", "churn_probability"): 0.0}).collect()
}
"""Labels by metric of a batch run."""

LABELS = {family.name: set(family.labels) for family in FAMILIES} | BATCH


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: str) -> None:
    named = {name.removesuffix("_bucket") for name in re.findall(r"\b(?:regulars|grpc_server)_\w+", query)}
    assert named <= LABELS.keys()
    grouped = re.findall(r"(?:by|on|group_left) \(([^)]*)\)", query)
    labels = {label for group in grouped for label in re.findall(r"\w+", group)}
    labels |= set(re.findall(r"(\w+)(?:=~|!=|=)\"", query))
    assert labels <= KNOWN_EVERYWHERE.union(*(LABELS[name] for name in named))


def test_the_metrics_of_batch_runs_are_all_told_with_their_labels() -> None:
    told = re.findall(r"^\| `(regulars_batch_\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    assert {name: set(re.findall(r"\w+", labels)) for name, labels in told} == BATCH
