"""Measures what a bundle costs, in a process of its own: `python -m model_registry.measuring FOLDER` prints it."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from model_registry.budget import TABLE_ROWS, Cost
from model_registry.bundle import BundleError, read_bundle
from model_registry.columns import Columns
from model_registry.readings import ScoringError
from model_registry.servable import Servable

ROUNDS = 5
"""The best round counts: whatever else runs on this machine slows rounds down, and speeds none up."""

ROUND_CUSTOMERS = 200
MEGABYTE = 2**20


def cost(folder: Path) -> Cost:
    """Loads the bundle as a server would, and measures.

    Raises:
        BundleError: it does not load, or does not reproduce its golden rows.
        ScoringError: it fails on its golden rows all the same.
    """
    customers = _tiled(read_bundle(folder).golden.columns, TABLE_ROWS)
    # The first copy pays for what the runtime keeps whatever it loads. The second adds what a swap adds.
    first = _load(folder, customers)
    before = _resident_bytes()
    servable = _load(folder, customers)
    added = _resident_bytes() - before
    del first
    rounds = [_row_times(servable, customers) for _ in range(ROUNDS)]
    return Cost(
        row_milliseconds=1e3 * min(statistics.median(times) for times in rounds),
        row_p99_milliseconds=1e3 * min(float(np.percentile(times, 99)) for times in rounds),
        table_milliseconds=1e3 * min(_table_time(servable, customers) for _ in range(ROUNDS)),
        megabytes=max(added, 0) / MEGABYTE,
    )


def _load(folder: Path, customers: Columns) -> Servable:
    servable = Servable(read_bundle(folder))
    servable.replay()
    servable.score(customers)
    return servable


def _row_times(servable: Servable, customers: Columns) -> list[float]:
    times = []
    for row in range(ROUND_CUSTOMERS):
        customer = customers.slice(row, row + 1)
        started = time.perf_counter()
        servable.score_one(customer)
        times.append(time.perf_counter() - started)
    return times


def _table_time(servable: Servable, customers: Columns) -> float:
    started = time.perf_counter()
    servable.score(customers)
    return time.perf_counter() - started


def _tiled(columns: Columns, rows: int) -> Columns:
    """These customers again and again, `rows` in all."""
    if not len(columns):
        raise BundleError("the bundle has no golden rows to measure it by; retrain")
    places = np.arange(rows) % len(columns)
    return Columns(columns.numeric[places], columns.categorical[places])


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        # macOS tells the highest figure so far alone, in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


def main() -> int:
    try:
        print(json.dumps(asdict(cost(Path(sys.argv[1])))))  # noqa: T201 - how the figures reach who asked
    except (BundleError, ScoringError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - as above
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
