"""A million requests, a fifth of them cancelled: the server does not grow."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import grpc

from tests.support.bundles import release_bundle
from tests.trials.faulty_server import FAULT, KEPT_ONE_IN
from tests.trials.harness import Result, Usage, at_least, at_most, say, told
from tests.trials.http2 import Pool
from tests.trials.load import Tally, pushback
from tests.trials.requests import Asked, customers
from tests.trials.servers import FAULTY, WORST_GROWTH_MB, resident_mb, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Size:
    requests: int
    warm_up: int
    control_requests: int
    """At most: the control ends when the leak is found."""


FULL, QUICK = Size(1_000_000, warm_up=50_000, control_requests=300_000), Size(2_000, 500, 0)

CALLERS = 8
CANCELLED = 0.2
"""The share of requests whose caller gives up at once."""
STREAMED, TABLES = 0.02, 0.02
"""The shares of requests that are a stream of two tables, and a table."""
ROWS = 20
LOOK_EVERY = 10_000


@dataclass
class Grown:
    """A server's memory as requests came, in MB, and how they ended."""

    tally: Tally = field(default_factory=Tally)
    cancelled: int = 0
    refused: int = 0
    """Attempts, which were made again."""
    warm: float = 0.0
    latest: float = 0.0

    @property
    def mb(self) -> float:
        return self.latest - self.warm


def run(size: Size, folder: Path) -> list[Result]:
    release_bundle(folder, "1")
    with serving(folder) as server, Usage(server) as usage:
        grown = asyncio.run(_ask(server, size.requests, size.warm_up))
    tally = grown.tally
    rate = size.requests / usage.seconds
    results = [
        told("requests", size.requests, note=f"{rate:,.0f} a second; {usage.note}"),
        told("cancelled by their callers", grown.cancelled / size.requests * 100, "%"),
        told("refused and made again", grown.refused / size.requests * 100, "%"),
        at_most("failed of the others", tally.failed, 0, note=str(dict(tally.codes))),
        told("memory once warm", grown.warm, "MB", f"after {size.warm_up:,} requests"),
        at_most("growth since", grown.mb, WORST_GROWTH_MB, "MB"),
    ]
    return [*results, *_control(size, folder)]


def _control(size: Size, folder: Path) -> list[Result]:
    """The same with a server that lets some requests never go."""
    if not size.control_requests:
        return []
    with serving(folder, entry=FAULTY, environment={FAULT: "leak"}) as server:
        grown = asyncio.run(_ask(server, size.control_requests, size.warm_up, stop_above=WORST_GROWTH_MB))
    found = f"a server that keeps one customer in {KEPT_ONE_IN}; seen after {grown.tally.total + grown.cancelled:,}"
    return [at_least("control: growth with a planted leak", grown.mb, WORST_GROWTH_MB, "MB", found)]


async def _ask(server: ServerProcess, requests: int, warm_up: int, stop_above: float = float("inf")) -> Grown:
    asked, grown, numbers = Asked("churn", customers(ROWS)), Grown(), iter(range(requests))
    pool = Pool(server.port)
    await asyncio.gather(*(_caller(pool, asked, grown, numbers, server, warm_up, stop_above) for _ in range(CALLERS)))
    grown.latest = resident_mb(server)
    pool.close()
    return grown


async def _caller(
    pool: Pool, asked: Asked, grown: Grown, numbers: Iterator[int], server: ServerProcess, warm_up: int, limit: float
) -> None:
    requests = _Requests.of(asked)
    for number in numbers:
        await _request(pool, requests, grown, Random(number))
        if number == warm_up:
            grown.warm = resident_mb(server)
        if number > warm_up and number % LOOK_EVERY == 0:
            grown.latest = resident_mb(server)
            if number % (10 * LOOK_EVERY) == 0:
                say(f"{number:,} requests, grew {grown.mb:.1f} MB")
        if grown.mb > limit:
            return


@dataclass(frozen=True)
class _Requests:
    """Methods with the messages of a call."""

    one: list[tuple[str, list[bytes]]]
    batch: tuple[str, list[bytes]]
    stream: tuple[str, list[bytes]]

    @classmethod
    def of(cls, asked: Asked) -> _Requests:
        methods = asked.methods
        return cls(
            [(methods.one.path, [row]) for row in asked.rows],
            (methods.batch.path, [asked.table]),
            (methods.stream.path, [asked.stream_table(sequence) for sequence in range(2)]),
        )

    def choose(self, chance: Random) -> tuple[str, list[bytes]]:
        kind = chance.random()
        if kind < STREAMED:
            return self.stream
        return self.batch if kind < STREAMED + TABLES else chance.choice(self.one)


async def _request(pool: Pool, requests: _Requests, grown: Grown, chance: Random) -> None:
    """One request, made again where the server asks for it; or given up by its caller."""
    path, messages = requests.choose(chance)
    cancels = chance.random() < CANCELLED
    while True:
        call = (await pool.connection()).start(path)
        for message in messages[:-1]:
            call.send(message)
        call.send(messages[-1], end=True)
        if cancels:
            # Some before the server has seen them, some while it works, some when it has answered.
            await asyncio.sleep(chance.choice((0, 0, 0.002, 0.01)))
            call.cancel()
            grown.cancelled += 1
            return
        answer = await call.done
        if not (answer.unseen or answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED):
            grown.tally.count(answer)
            return
        grown.refused += 1
        await asyncio.sleep(pushback(answer))
