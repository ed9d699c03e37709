"""What docs/metrics.md asks of Prometheus must be there to be asked."""

from __future__ import annotations

import re

import pytest

from cli.reference import ROOT
from services.core.metrics import FAMILIES

QUERIES = re.findall(r"```promql\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL)
KNOWN_EVERYWHERE = {"instance", "le"}


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: str) -> None:
    families = {family.name: family for family in FAMILIES}
    named = {name.removesuffix("_bucket") for name in re.findall(r"\b(?:regulars|grpc_server)_\w+", query)}
    assert named <= families.keys()
    grouped = re.findall(r"(?:by|on|group_left) \(([^)]*)\)", query)
    labels = {label for group in grouped for label in re.findall(r"\w+", group)}
    labels |= set(re.findall(r"(\w+)(?:=~|!=|=)\"", query))
    assert labels <= KNOWN_EVERYWHERE.union(*(families[name].labels for name in named))
