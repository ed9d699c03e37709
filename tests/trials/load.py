"""Callers, as many as a trial wants, in one thread: what they ask, when, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

from services.client.channel import MAX_ATTEMPTS
from tests.trials.harness import percentile
from tests.trials.http2 import Connection, Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.trials.http2 import Answer

CHECK = "/grpc.health.v1.Health/Check"
HEALTHY = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
PUSHBACK = "grpc-retry-pushback-ms"
DEFAULT_BACKOFF_SECONDS = 0.1


@dataclass
class Tally:
    """How calls ended, and how long those took that were answered OK, in seconds."""

    codes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    """Attempts, of calls that were made again."""
    wall_seconds: float = 0.0

    def count(self, answer: Answer) -> None:
        self.codes[answer.code.name] += 1
        if answer.ok:
            self.seconds.append(answer.seconds)

    @property
    def total(self) -> int:
        return self.codes.total()

    @property
    def failed(self) -> int:
        return self.total - self.codes["OK"]

    def p(self, share: float) -> float:
        """Milliseconds."""
        return percentile(self.seconds, share) * 1000


def pushback(answer: Answer) -> float:
    """How long the server asks a refused caller to wait, in seconds."""
    told = answer.trailers.get(PUSHBACK)
    return DEFAULT_BACKOFF_SECONDS if told is None else int(told) / 1000


async def ask(pool: Pool, path: str, message: bytes, tally: Tally) -> None:
    """One call, made again when the server asks for it, as gRPC's own retry does; all of that is the time it took."""
    began = time.perf_counter()
    for _ in range(MAX_ATTEMPTS - 1):
        answer = await pool.call(path, message)
        if answer.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            break
        tally.refused += 1
        await asyncio.sleep(pushback(answer))
    else:
        answer = await pool.call(path, message)
    tally.count(replace(answer, seconds=time.perf_counter() - began))


async def ask_on(pool: Pool, asks: Callable[[], tuple[str, bytes]], tally: Tally, until: float) -> None:
    """One caller, who asks again as soon as he is answered, or after the wait that a refusal asks for."""
    while time.perf_counter() < until:
        answer = await pool.call(*asks())
        tally.count(answer)
        if answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            await asyncio.sleep(pushback(answer))


async def ask_at_rate(
    pool: Pool, asks: Callable[[], tuple[str, bytes]], tally: Tally, rate: float, stopping: asyncio.Event
) -> None:
    """Callers who come when they come, `rate` of them a second, whether the earlier ones are answered or not."""
    calls: set[asyncio.Task[None]] = set()
    due = time.perf_counter()

    while not stopping.is_set():
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        calls.add(task := asyncio.create_task(ask(pool, *asks(), tally)))
        task.add_done_callback(calls.discard)
        due += 1 / rate
    await asyncio.gather(*calls)


@asynccontextmanager
async def health_watched(port: int, every_seconds: float = 0.05) -> AsyncIterator[Tally]:
    """Asks for the server's health all along, on a connection of its own; anything but SERVING counts as a failure."""
    connection = await Connection.open(port)
    tally = Tally()

    async def check() -> None:
        while True:
            answer = await connection.call(CHECK, b"", timeout=1.0)
            tally.count(answer)
            if answer.ok and answer.messages() != [HEALTHY]:
                tally.codes["not SERVING"] += 1
            await asyncio.sleep(every_seconds)

    task = asyncio.create_task(check())
    try:
        yield tally
    finally:
        task.cancel()
        connection.close()
