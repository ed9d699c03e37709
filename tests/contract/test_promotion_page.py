"""What docs/promotion.md says of gates, limits, notes and statuses is what the code does."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cli.main import EXIT_FAILED, EXIT_USAGE
from cli.registry import NOT_SERVED
from features.sections import OPTIONAL, REQUIRED, Promotion
from model_registry.budget import TABLE_ROWS, Budget, Cost
from model_registry.clearance import CLEARED_BUNDLE_NOTE, CLEARED_NOTE
from model_registry.gates import AUDIT, CALLERS, NON_INFERIORITY_MARGIN, PARITY, budget_gates
from model_registry.mlflow_registry import _DEFAULTS
from model_registry.promotion import OVERRIDES_NOTE, REPORT_NOTE, REPORTS
from model_registry.sync import JITTER, POLL_SECONDS

TEXT = (Path(__file__).parents[2] / "docs" / "promotion.md").read_text()
BUDGET = Budget()


@pytest.mark.parametrize(
    "gate", [PARITY, CALLERS, AUDIT, *(gate.name for gate in budget_gates(Cost(1.0, 1.0, 1.0, 1.0), BUDGET))]
)
def test_every_gate_has_its_row(gate: str) -> None:
    assert f"| {gate} |" in TEXT


def test_the_limits_are_the_defaults() -> None:
    (block,) = (part.partition("```")[0] for part in TEXT.split("```toml\n") if part.startswith("[promotion]"))
    assert Promotion(**tomllib.loads(block)["promotion"]) == Promotion()
    assert f'or "{OPTIONAL}"' in block
    assert Promotion().audit == REQUIRED
    assert (BUDGET.row_milliseconds, BUDGET.table_milliseconds, BUDGET.megabytes) == (
        Promotion().row_milliseconds,
        Promotion().table_milliseconds,
        Promotion().megabytes,
    )
    for limit in (
        f"the median is at most {BUDGET.row_milliseconds:g} ms",
        f"at most {BUDGET.table_milliseconds:g} ms",
        f"at most {BUDGET.megabytes:g} MB",
        f"lies above -{NON_INFERIORITY_MARGIN}",
        f"time for {TABLE_ROWS:,} customers",
    ):
        assert limit in TEXT


@pytest.mark.parametrize("note", [OVERRIDES_NOTE, REPORT_NOTE, CLEARED_NOTE, CLEARED_BUNDLE_NOTE, f"{REPORTS}/"])
def test_what_is_on_record_is_found_there(note: str) -> None:
    assert f"`{note}" in TEXT


def test_the_statuses_are_those_of_the_command() -> None:
    for status in (0, EXIT_FAILED, EXIT_USAGE, NOT_SERVED):
        assert f"\n| {status} |" in TEXT


def test_how_often_and_how_long_a_follower_asks() -> None:
    low, high = (POLL_SECONDS * (1 + share) for share in (-JITTER, JITTER))
    assert f"every {low:.0f} to {high:.0f} seconds" in TEXT
    assert f"gives up after {_DEFAULTS['MLFLOW_HTTP_REQUEST_TIMEOUT']} s, and is tried three times" in TEXT
    assert _DEFAULTS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
