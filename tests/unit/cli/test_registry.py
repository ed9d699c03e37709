"""The table of models: each version with the figure that decides its model, its grade, and what its audit came to."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cli import registry as command
from cli.console import out, table
from cli.models import MODELS
from model_registry.clearance import FAIL, INCONCLUSIVE, PASS, Waived, verdict_notes
from model_registry.gates import Gate
from model_registry.registry import RegisteredVersion
from tests.fakes.registry import FakeRegistry
from training.core.grade import SCALES

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = RegisteredVersion(
    "churn", "3", "run", "abcdef0123456789", datetime.now(UTC) - timedelta(hours=2), ("candidate",), {"auc": 0.8716}
)

Listed = list[list[str]]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Listed]:
    """What `regulars models` prints of these versions, cell by cell."""

    class Versions(FakeRegistry):
        def __init__(self, versions: tuple[RegisteredVersion, ...]) -> None:
            super().__init__()
            self._listed = versions

        def versions(self, name: str) -> list[RegisteredVersion]:
            return [version for version in self._listed if version.name == name]

    def run(*versions: RegisteredVersion) -> Listed:
        monkeypatch.setattr(command, "MlflowRegistry", lambda uri, *, must_exist: Versions(versions))
        assert command.models(Namespace(registry="sqlite:///here.db", project=None)) == 0
        return [
            [cell.strip() for cell in line.split("  ") if cell.strip()] for line in capsys.readouterr().out.splitlines()
        ]

    return run


def test_every_model_shows_the_figure_that_decides_it(listed: Callable[..., Listed]) -> None:
    rows = listed(
        replace(VERSION, grade="good"),
        replace(VERSION, name="propensity", version="1", aliases=(), metrics={"auc": 0.75, "brier": 0.1}),
        replace(VERSION, name="cltv", metrics={"gini": 0.654}, grade="fair"),
        replace(VERSION, name="clustering", aliases=("champion", "previous"), metrics={"silhouette": 0.31}),
    )
    assert ["churn", "3", "candidate", "auc 0.872", "good", "not audited", "2 h"] in rows
    assert ["propensity", "1", "auc 0.750", "not audited", "2 h"] in rows
    assert ["cltv", "3", "candidate", "gini 0.654", "fair", "not audited", "2 h"] in rows
    assert ["clustering", "3", "champion, previous", "silhouette 0.310", "not audited", "2 h"] in rows


def test_a_version_without_that_figure_is_listed_all_the_same(listed: Callable[..., Listed]) -> None:
    assert ["churn", "3", "candidate", "not audited", "2 h"] in listed(replace(VERSION, metrics={}))


@pytest.mark.parametrize(
    ("audit", "told"),
    [
        (verdict_notes(VERSION, PASS), "PASS"),
        (verdict_notes(VERSION, INCONCLUSIVE), "INCONCLUSIVE"),
        (verdict_notes(VERSION, FAIL), "FAIL"),
        (verdict_notes(VERSION, PASS, Waived(FAIL, date.max)), "PASS, waived"),
        (verdict_notes(VERSION, PASS, Waived(FAIL, date.min)), "FAIL"),
        (verdict_notes(replace(VERSION, digest="retrained"), PASS), "not audited"),
    ],
)
def test_it_tells_what_the_audit_of_this_very_bundle_is_worth_today(
    listed: Callable[..., Listed], audit: dict[str, str], told: str
) -> None:
    assert ["churn", "3", "candidate", "auc 0.872", told, "2 h"] in listed(replace(VERSION, notes=audit))


def test_the_widest_row_of_everyday_fits_on_a_hundred_columns(
    listed: Callable[..., Listed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", 100)
    widest = replace(
        VERSION,
        name="clustering",
        version="1234567",
        aliases=("candidate", "champion"),
        metrics={"silhouette": 0.31},
        grade="excellent",
        created_at=datetime.now(UTC) - timedelta(minutes=59),
        notes=verdict_notes(VERSION, INCONCLUSIVE),
    )
    cells = ["clustering", "1234567", "candidate, champion", "silhouette 0.310", "excellent", "INCONCLUSIVE", "59 min"]
    assert cells in listed(widest)


def test_where_nothing_is_registered_the_next_step_is_told(listed: Callable[..., Listed]) -> None:
    assert listed() == [["no model is registered yet; run 'regulars train all'"]]


def test_every_model_is_decided_by_a_metric_that_has_grades() -> None:
    assert tuple(command.DECIDING) == MODELS
    assert set(command.DECIDING.values()) == set(SCALES)


def test_a_gate_of_a_category_keeps_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate("beats recency", "auc[tea] difference, interval above 0", "0.0500 [0.0100, 0.0900]", passed=True)
    table("gates", ("gate", "limit", "figure", "verdict"), command._rows((gate,)))
    assert "auc[tea] difference" in capsys.readouterr().out
