"""What docs/quality.md says of metrics, gates and grades is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model_registry.budget import TABLE_ROWS
from model_registry.gates import AUDIT, CALLERS, NON_INFERIORITY_MARGIN, PARITY
from training.cltv import judge as values
from training.clustering import choice
from training.clustering import judge as segments
from training.core import judge as probabilities
from training.core.evaluate import RESAMPLES
from training.core.grade import GRADES, SCALES
from training.core.split import TEST_SHARE

TEXT = (Path(__file__).parents[2] / "docs" / "quality.md").read_text()
SCALE = re.compile(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", re.MULTILINE)
METRICS = sorted(probabilities.MEANINGS.keys() | values.MEANINGS.keys() | segments.MEANINGS.keys())


def test_the_grades_are_those_of_the_code() -> None:
    told = {metric: (float(good), float(excellent)) for metric, good, excellent in SCALE.findall(TEXT)}
    assert told == {metric: (scale.good, scale.excellent) for metric, scale in SCALES.items()}
    assert all(f"| {grade} |" in TEXT for grade in GRADES)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_explained(metric: str) -> None:
    assert f"| `{metric}` |" in TEXT


@pytest.mark.parametrize("gate", [PARITY, CALLERS, AUDIT, "not worse than the champion", "memory"])
def test_every_gate_is_explained(gate: str) -> None:
    assert gate in TEXT


@pytest.mark.parametrize(
    "requirement",
    [
        "`observed_expected` from {} to {}".format(*probabilities.LEVEL_LIMITS),
        "`aggregate_ratio` from {} to {}".format(*values.TOTAL),
        f"`coverage` within {values.COVERAGE_TOLERANCE} of the level",
        f"`stability` at least {choice.STABLE}",
        f"`smallest_share` at least {choice.SMALLEST}",
    ],
)
def test_every_requirement_is_told_with_its_limits(requirement: str) -> None:
    assert requirement in TEXT


def test_the_figures_in_the_text_are_those_of_the_code() -> None:
    assert f"{RESAMPLES:,} resamples" in TEXT
    assert f"lies above -{NON_INFERIORITY_MARGIN}" in TEXT
    assert f"time for {TABLE_ROWS:,} customers" in TEXT
    assert TEST_SHARE == 0.25, "docs/quality.md speaks of a quarter of the customers"
