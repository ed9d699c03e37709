"""What a benchmark returns, and how its figures are written down."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Figure:
    """One measured figure. `bar` is the value it should reach, in words, where there is one."""

    name: str
    value: float
    unit: str
    bar: str = ""
    note: str = ""


@dataclass(frozen=True)
class Page:
    """What a benchmark returns in place of figures: its section in its own shape, and what failed on the way."""

    text: str
    failures: tuple[str, ...] = ()


def median_seconds(work: Callable[[], object], rounds: int = 5, warm_ups: int = 1) -> float:
    """Median wall time of `work` over `rounds`, after `warm_ups` uncounted calls."""
    for _ in range(warm_ups):
        work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def cores() -> str:
    """The machine's processors, e.g. `2 x AMD EPYC`."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}"
