"""Clients that are killed or frozen in the middle, and clients that never read: their places come back."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from services.core.settings import Settings
from tests.support.server import REPOSITORY
from tests.trials.harness import Result, at_least, at_most, say, told
from tests.trials.http2 import Connection, Pool
from tests.trials.load import Tally, ask_at_rate, health_watched
from tests.trials.requests import Asked, customers, release_forest
from tests.trials.servers import WORST_GROWTH_MB, resident_mb, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Size:
    cycles: int
    """Times that a crowd comes and vanishes."""
    patience_seconds: float
    """How long frozen clients and those that never read are borne with; 0 leaves them out."""


FULL, QUICK = Size(cycles=150, patience_seconds=95.0), Size(6, 0.0)

KILLED_SECONDS = 5.0
"""The kernel says at once that a killed client's connection is gone."""
FROZEN_SECONDS = 90.0
"""A frozen client is found by keepalive: after 60 s of silence and 20 s without an answer."""
CROWD = 32
"""Calls that vanish at a time, beside all streams that the lane admits."""
INTERACTIVE_RATE = 50.0
"""Calls a second of those who are to be served all along."""
ROWS = 400
WAITING_TABLES = 8
"""Of each stream."""


def run(size: Size, folder: Path) -> list[Result]:
    release_forest(folder, "1", trees=50)
    places = Settings().bulk_calls
    with serving(folder) as server:
        results = _killed(server, places)
        results += asyncio.run(_crowds(server, places, size.cycles))
    if size.patience_seconds:
        # Both are a matter of waiting, each for its own server.
        with serving(folder) as one, serving(folder) as other, ThreadPoolExecutor() as threads:
            frozen = threads.submit(_frozen, one, places, size.patience_seconds)
            results += asyncio.run(_never_reading(other, places, size.patience_seconds))
            results += frozen.result()
    return results


def _held(server: ServerProcess) -> int:
    return int(server.metric("regulars_calls_in_flight", lane="bulk"))


def _seconds_until_free(server: ServerProcess, patience_seconds: float) -> float:
    """How long it takes until nobody holds a place; infinite where they never come back."""
    began = time.perf_counter()
    while _held(server):
        if time.perf_counter() - began > patience_seconds:
            return float("inf")
        time.sleep(0.05)
    return time.perf_counter() - began


def _killed(server: ServerProcess, places: int) -> list[Result]:
    with _client(server, places) as process:
        held = _held(server)
        process.kill()
        seconds = _seconds_until_free(server, KILLED_SECONDS)
    say(f"killed: {held} places back after {seconds:.2f} s")
    return [
        at_least("killed: places held before", held, places, note="control: the lane was full"),
        at_most("killed: until they are back", seconds, KILLED_SECONDS, "s"),
    ]


def _frozen(server: ServerProcess, places: int, patience_seconds: float) -> list[Result]:
    with _client(server, places) as process:
        process.send_signal(signal.SIGSTOP)
        held = _held(server)
        seconds = _seconds_until_free(server, patience_seconds)
    say(f"frozen: {held} places back after {seconds:.1f} s")
    return [at_most("frozen: until their places are back", seconds, FROZEN_SECONDS, "s", f"{held} places were held")]


@contextmanager
def _client(server: ServerProcess, streams: int) -> Iterator[subprocess.Popen[str]]:
    """A process of the suite's own client whose streams are all being answered."""
    command = [sys.executable, "-m", "tests.trials.vanishing_client", str(server.port), str(streams)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "streaming\n"
            yield process
        finally:
            process.kill()


async def _crowds(server: ServerProcess, places: int, cycles: int) -> list[Result]:
    """Crowds that vanish without a word while their calls are queued, running, or being answered."""
    # When each crowd vanishes is drawn.
    asked, chance, warm = Asked("churn", customers(ROWS)), Random(1), 0.0
    async with _others_served(server) as (others, health):
        for cycle in range(cycles):
            crowd = await _come(server, asked, places)
            await asyncio.sleep(chance.uniform(0, 0.2))
            for connection in crowd:
                connection.abort()
            if cycle == cycles // 4:
                warm = resident_mb(server)
        seconds = await asyncio.to_thread(_seconds_until_free, server, KILLED_SECONDS)
    grown = resident_mb(server) - warm
    say(f"{cycles} crowds vanished: places back after {seconds:.2f} s, grew {grown:.1f} MB")
    return [
        told("vanished in crowds: calls and streams", cycles * (CROWD + places), note=f"{cycles} crowds"),
        at_most("vanished in crowds: until the places are back", seconds, KILLED_SECONDS, "s"),
        at_most(
            "vanished in crowds: growth of memory", grown, WORST_GROWTH_MB, "MB", "from a quarter of the way to the end"
        ),
        *_judge_others("vanished in crowds", others, health),
    ]


async def _never_reading(server: ServerProcess, places: int, patience_seconds: float) -> list[Result]:
    """Callers who ask and ask and never read an answer, but whose connection is alive and answers pings."""
    asked, before = Asked("churn", customers(ROWS)), resident_mb(server)
    async with _others_served(server) as (others, health):
        crowd = await _come(server, asked, places, reads=False)
        seconds = await asyncio.to_thread(_seconds_until_free, server, patience_seconds)
        grown = resident_mb(server) - before
        for connection in crowd:
            connection.abort()
        freed = await asyncio.to_thread(_seconds_until_free, server, KILLED_SECONDS)
    say(f"never reading: places back after {seconds:.1f} s, grew {grown:.1f} MB")
    return [
        at_most("never reading: until their places are back", seconds, FROZEN_SECONDS, "s"),
        at_most("never reading: growth of memory", grown, WORST_GROWTH_MB, "MB"),
        at_most("never reading: until their places are back once they vanish", freed, KILLED_SECONDS, "s"),
        *_judge_others("never reading", others, health),
    ]


async def _come(server: ServerProcess, asked: Asked, places: int, *, reads: bool = True) -> list[Connection]:
    """A crowd on two connections: streams for every place of the lane, each with tables waiting, and batch calls."""
    streaming, calling = [await Connection.open(server.port, reads=reads) for _ in range(2)]
    for _ in range(places):
        stream = streaming.start(asked.methods.stream.path)
        for sequence in range(WAITING_TABLES):
            stream.send(asked.stream_table(sequence))
    for _ in range(CROWD):
        calling.start(asked.methods.batch.path).send(asked.table, end=True)
    return [streaming, calling]


@asynccontextmanager
async def _others_served(server: ServerProcess) -> AsyncIterator[tuple[Tally, Tally]]:
    """Calls of others, and of health, while the block runs."""
    asked, pool, others = Asked("churn", customers(50)), Pool(server.port), Tally()
    rows = itertools.cycle(asked.rows)
    stopping = asyncio.Event()
    calling = asyncio.create_task(
        ask_at_rate(pool, lambda: (asked.methods.one.path, next(rows)), others, INTERACTIVE_RATE, stopping)
    )
    async with health_watched(server.port) as health:
        yield others, health
        stopping.set()
        await calling
    pool.close()


def _judge_others(when: str, others: Tally, health: Tally) -> list[Result]:
    return [
        at_most(f"{when}: calls of others that failed", others.failed, 0, note=str(dict(others.codes)), timed=True),
        told(f"{when}: p99 of the others", others.p(99), "ms"),
        at_most(f"{when}: health checks that failed", health.failed, 0, note=f"of {health.total}", timed=True),
    ]
