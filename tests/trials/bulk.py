"""A whole base streams through while people wait for single answers: they wait hardly longer."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.trials.harness import Result, Usage, at_least, at_most, say, told
from tests.trials.http2 import Pool
from tests.trials.load import Tally, ask_at_rate
from tests.trials.requests import Asked, customers, release_forest
from tests.trials.servers import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Size:
    rounds: int
    seconds: float
    """Of each half of a round."""


FULL, QUICK = Size(rounds=5, seconds=8.0), Size(1, 1.0)

RATE = 200.0
"""Interactive calls a second."""
ROWS = 1_000
"""Of each table of the stream."""
WINDOW = 8
"""Tables that the stream has under way, like the suite's own client."""
WORST_RATIO = 2.0
LEAST_ROWS = 1_000
"""Customers that the stream must get through in a second, lest it was starved."""


@dataclass
class Round:
    """Interactive calls alone, and beside a stream."""

    alone: Tally
    beside: Tally
    streamed: int
    usage: Usage

    @property
    def ratio(self) -> float:
        return self.beside.p(99) / self.alone.p(99)

    @property
    def rows_a_second(self) -> float:
        return self.streamed * ROWS / self.usage.seconds


def run(size: Size, folder: Path) -> list[Result]:
    release_forest(folder, "1")
    with serving(folder) as server:
        rounds = [asyncio.run(_round(server, size.seconds)) for _ in range(size.rounds)]
    for one in rounds:
        say(f"p99 {one.alone.p(99):.2f} ms, beside a stream {one.beside.p(99):.2f} ms; {one.usage.note}")
    codes = sum((side.codes for one in rounds for side in (one.alone, one.beside)), Counter[str]())
    return [
        told("p99 alone", statistics.median(one.alone.p(99) for one in rounds), "ms", f"{RATE:.0f} calls a second"),
        told("p99 beside a bulk stream", statistics.median(one.beside.p(99) for one in rounds), "ms"),
        at_most(
            "p99 beside a stream to alone",
            *(statistics.median(one.ratio for one in rounds), WORST_RATIO, "x", rounds[-1].usage.note),
        ),
        at_most("interactive calls that failed", codes.total() - codes["OK"], 0, note=str(dict(codes)), timed=True),
        told("refused and made again", sum(side.refused for one in rounds for side in (one.alone, one.beside))),
        at_least(
            "control: customers streamed",
            min(one.rows_a_second for one in rounds),
            LEAST_ROWS,
            "a second",
            "a stream that stands still disturbs nobody",
        ),
    ]


async def _round(server: ServerProcess, seconds: float) -> Round:
    alone, beside = Tally(), Tally()
    pool = Pool(server.port)
    await _interact(pool, alone, seconds)
    async with _streaming(server) as tables:
        with Usage(server) as usage:
            before = tables.total
            await _interact(pool, beside, seconds)
    pool.close()
    return Round(alone, beside, tables.total - before, usage)


async def _interact(pool: Pool, tally: Tally, seconds: float) -> None:
    asked, stopping = Asked("churn", customers(50)), asyncio.Event()
    rows = itertools.cycle(asked.rows)
    asyncio.get_running_loop().call_later(seconds, stopping.set)
    await ask_at_rate(pool, lambda: (asked.methods.one.path, next(rows)), tally, RATE, stopping)


@asynccontextmanager
async def _streaming(server: ServerProcess) -> AsyncIterator[Tally]:
    """One stream that always has tables waiting, on a connection of its own; it counts what is answered."""
    asked, pool, tables = Asked("churn", customers(ROWS)), Pool(server.port), Tally()
    table = asked.stream_table()
    stream = (await pool.connection()).start(asked.methods.stream.path)

    async def go_on() -> None:
        for _ in range(WINDOW):
            stream.send(table)
        while await stream.receive() is not None:
            tables.codes["OK"] += 1
            stream.send(table)

    task = asyncio.create_task(go_on())
    await asyncio.sleep(0.2)
    yield tables
    stream.cancel()
    await task
    pool.close()
