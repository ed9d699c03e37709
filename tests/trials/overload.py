"""Ten times as many callers as the lane admits: those whom it admits are served as well as before."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from services.core.settings import Settings
from tests.trials.harness import Result, Usage, at_least, at_most, say, told
from tests.trials.http2 import Pool
from tests.trials.load import Tally, ask_on, health_watched
from tests.trials.requests import Asked, customers, release_forest
from tests.trials.servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Size:
    rounds: int
    calm_seconds: float
    crowded_seconds: float


FULL, QUICK = Size(rounds=5, calm_seconds=4.0, crowded_seconds=8.0), Size(1, 0.5, 1.0)

CROWD = 10
"""Callers for each place of the lane."""
WORST_RATIO = 2.0
ARRIVING_SECONDS = 0.5
"""Callers do not all come at once."""
SETTLING_SECONDS = 1.0
"""What comes before is not measured."""


@dataclass(frozen=True)
class Round:
    """One server, first with a caller for each place of the lane, then with ten."""

    calm: Tally
    crowded: Tally
    health: Tally
    usage: Usage

    @property
    def ratio(self) -> float:
        return self.crowded.p(99) / self.calm.p(99)


def run(size: Size, folder: Path) -> list[Result]:
    release_forest(folder, "1")
    places = Settings().interactive_calls
    with serving(folder) as server:
        rounds = [asyncio.run(_round(server, places, size)) for _ in range(size.rounds)]
        for measured in rounds:
            say(f"p99 {measured.calm.p(99):.1f} ms, crowded {measured.crowded.p(99):.1f} ms; {measured.usage.note}")
    with serving(folder, interactive_calls=2 * CROWD * places) as boundless:
        control = asyncio.run(_round(boundless, places, size))
    return _results(rounds, control, places)


def _results(rounds: list[Round], control: Round, places: int) -> list[Result]:
    codes = sum((measured.crowded.codes for measured in rounds), Counter[str]())
    unexpected = codes.total() - codes["OK"] - codes["RESOURCE_EXHAUSTED"]
    goodput = statistics.median(_rate(measured.crowded) / _rate(measured.calm) for measured in rounds)
    last = rounds[-1]
    return [
        told(
            "p99, a caller for each place",
            _median(measured.calm.p(99) for measured in rounds),
            "ms",
            f"{places} callers",
        ),
        told("p99 of the admitted, ten for each place", _median(measured.crowded.p(99) for measured in rounds), "ms"),
        at_most(
            "crowded p99 to calm p99", _median(measured.ratio for measured in rounds), WORST_RATIO, "x", last.usage.note
        ),
        told("answered a second, crowded to calm", goodput, "x"),
        told("refused", codes["RESOURCE_EXHAUSTED"] / codes.total() * 100, "%", "of the attempts"),
        at_most("neither answered nor refused", unexpected, 0),
        at_most("health checks that failed", sum(measured.health.failed for measured in rounds), 0, timed=True),
        told("slowest health check", max(measured.health.p(100) for measured in rounds), "ms"),
        at_least("control: the ratio where the lane admits everybody", control.ratio, WORST_RATIO, "x"),
    ]


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def _rate(tally: Tally) -> float:
    return tally.codes["OK"] / tally.wall_seconds


async def _round(server: ServerProcess, places: int, size: Size) -> Round:
    async with health_watched(server.port) as health:
        calm = await _crowd(server, places, size.calm_seconds)
        with Usage(server) as usage:
            crowded = await _crowd(server, CROWD * places, size.crowded_seconds)
    return Round(calm, crowded, health, usage)


async def _crowd(server: ServerProcess, callers: int, seconds: float) -> Tally:
    """So many callers, each with one call in flight at a time and no pause between calls."""
    asked, pool, random = Asked("churn", customers(50)), Pool(server.port), Random(callers)
    rows = itertools.cycle(asked.rows)
    path = asked.methods.one.path
    settling, tally = Tally(), Tally()
    settled = time.perf_counter() + min(SETTLING_SECONDS, seconds / 2)

    async def caller() -> None:
        await asyncio.sleep(random.uniform(0, min(ARRIVING_SECONDS, seconds / 4)))
        await ask_on(pool, lambda: (path, next(rows)), settling, settled)
        await ask_on(pool, lambda: (path, next(rows)), tally, settled + seconds)

    await asyncio.gather(*(caller() for _ in range(callers)))
    tally.wall_seconds = time.perf_counter() - settled
    pool.close()
    return tally
