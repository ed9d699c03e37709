"""What docs/metrics.md and docs/canary.md ask of Prometheus must be there to be asked."""

from __future__ import annotations

import re

import pytest

from cli.reference import ROOT
from model_registry.release import Release
from model_registry.sync_metrics import Following, SyncMetrics
from services.batch.publishing import Result
from services.core.metrics import FAMILIES

PAGE = (ROOT / "docs" / "metrics.md").read_text()
CANARY = (ROOT / "docs" / "canary.md").read_text()
QUERIES = re.findall(r"```promql\n(.*?)```", PAGE + CANARY, re.DOTALL)
KNOWN_EVERYWHERE = {"instance", "le"}

BATCH = {
    family.name: {label for sample in family.samples for label in sample.labels}
    for family in Result("churn", 0.0, 0.0, 0, {("churn", "ok"): 1}, {("churn", "churn_probability"): 0.0}).collect()
}
"""Labels by metric of a batch run."""


def _sync() -> dict[str, set[str]]:
    following = Following("churn", "champion")
    following.release = Release("1", "champion", "0" * 64)
    families = SyncMetrics(following).collect()
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


SYNC = _sync()
"""Labels by metric of a follower."""

LABELS = {family.name: set(family.labels) for family in FAMILIES} | BATCH | SYNC


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: str) -> None:
    named = {re.sub("_(bucket|count)$", "", name) for name in re.findall(r"\b(?:regulars|grpc_server)_\w+", query)}
    assert named <= LABELS.keys()
    grouped = re.findall(r"(?:by|on|group_left) \(([^)]*)\)", query)
    labels = {label for group in grouped for label in re.findall(r"\w+", group)}
    labels |= set(re.findall(r"(\w+)(?:=~|!=|=)\"", query))
    assert labels <= KNOWN_EVERYWHERE.union(*(LABELS[name] for name in named))


@pytest.mark.parametrize(("prefix", "labels"), [("regulars_batch", BATCH), ("regulars_sync", SYNC)])
def test_what_is_not_a_servers_is_all_told_with_its_labels(prefix: str, labels: dict[str, set[str]]) -> None:
    told = re.findall(rf"^\| `({prefix}_\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    assert {name: set(re.findall(r"\w+", names)) for name, names in told} == labels
