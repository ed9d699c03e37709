from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_registry import measuring
from model_registry.budget import TABLE_ROWS, Cost
from model_registry.bundle import BundleError
from tests.support.bundles import columns, make_bundle

if TYPE_CHECKING:
    from pathlib import Path


def test_the_best_round_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path / "bundle")
    rounds = itertools.cycle([[9.0] * 100, [3.0] * 98 + [7.0] * 2, [5.0] * 100])
    tables = itertools.cycle([8.0, 2.0, 4.0])
    resident = iter([10 * measuring.MEGABYTE, 14 * measuring.MEGABYTE])
    monkeypatch.setattr(measuring, "_row_times", lambda servable, customers: next(rounds))
    monkeypatch.setattr(measuring, "_table_time", lambda servable, customers: next(tables))
    monkeypatch.setattr(measuring, "_resident_bytes", lambda: next(resident))
    cost = measuring.cost(tmp_path / "bundle")
    assert cost == Cost(row_milliseconds=3000.0, row_p99_milliseconds=5000.0, table_milliseconds=2000.0, megabytes=4.0)


def test_memory_that_shrinks_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path / "bundle")
    resident = iter([14, 10])
    monkeypatch.setattr(measuring, "_resident_bytes", lambda: next(resident))
    assert measuring.cost(tmp_path / "bundle").megabytes == 0.0


def test_the_table_is_the_golden_rows_again_and_again() -> None:
    three = columns((1, 2, "web"), (3, 4, ""), (5, 6, "shop"))
    tiled = measuring._tiled(three, TABLE_ROWS)
    assert len(tiled) == TABLE_ROWS
    np.testing.assert_array_equal(tiled.numeric[:3], tiled.numeric[3:6])
    assert tiled.categorical[999].tolist() == ["web"]


def test_without_golden_rows_nothing_is_measured() -> None:
    with pytest.raises(BundleError, match="no golden rows"):
        measuring._tiled(columns(), TABLE_ROWS)


def test_where_the_kernel_tells_no_pages_the_highest_figure_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def __init__(self, *parts: str) -> None: ...

        def read_text(self) -> str:
            raise FileNotFoundError

    assert measuring._resident_bytes() > measuring.MEGABYTE
    monkeypatch.setattr(measuring, "Path", Nowhere)
    assert measuring._resident_bytes() > 0


def test_the_command_prints_the_figures_or_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = Cost(1.0, 2.0, 3.0, 4.0)
    monkeypatch.setattr("sys.argv", ["measuring", str(tmp_path)])
    monkeypatch.setattr(measuring, "cost", lambda folder: some)
    assert measuring.main() == 0
    assert json.loads(capsys.readouterr().out) == asdict(some)
    monkeypatch.undo()
    monkeypatch.setattr("sys.argv", ["measuring", str(tmp_path)])
    assert measuring.main() == 1
    assert "cannot read golden.json" in capsys.readouterr().err
