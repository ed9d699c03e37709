"""A bundle's cost is measured in a process of its own, and whatever keeps it from being measured is told."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from model_registry import budget
from model_registry.budget import Budget, measure
from model_registry.bundle import BundleError
from tests.support.bundles import graph, make_bundle, make_forest_bundle

if TYPE_CHECKING:
    from pathlib import Path


def test_a_small_bundle_costs_a_little_and_the_budget_allows_it(tmp_path: Path) -> None:
    make_forest_bundle(tmp_path / "bundle", trees=20)
    cost, most = measure(tmp_path / "bundle"), Budget()
    assert 0 < cost.row_milliseconds <= cost.row_p99_milliseconds
    assert cost.table_milliseconds > 0
    assert 0 <= cost.megabytes < most.megabytes


def test_a_bundle_that_is_none_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"could not be measured: .*cannot read golden\.json"):
        measure(tmp_path)


def test_a_bundle_that_does_not_reproduce_its_golden_rows_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", weight=0.01, model=graph(0.02))
    with pytest.raises(BundleError, match="does not reproduce the bundle's golden rows; retrain"):
        measure(tmp_path / "bundle")


def test_a_process_that_dies_without_a_word_is_told_by_its_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed = subprocess.CompletedProcess((), returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: killed)
    with pytest.raises(BundleError, match="its process ended with status -9"):
        measure(tmp_path)


def test_nobody_waits_forever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    monkeypatch.setattr(budget, "PATIENCE_SECONDS", 0.001)
    with pytest.raises(BundleError, match="could not be measured within"):
        measure(tmp_path / "bundle")
