"""SIGTERM with hundreds of calls inside: nothing that was accepted is lost, and the process ends in time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

from tests.support.bundles import SLOW_ABOVE, awkward_graph, columns, release_bundle
from tests.support.polling import PATIENCE_SECONDS
from tests.trials.harness import Result, at_least, at_most, say, told
from tests.trials.http2 import Connection, Pool
from tests.trials.requests import Asked
from tests.trials.servers import ended, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import ServerProcess
    from tests.trials.http2 import Answer, Stream


@dataclass(frozen=True)
class Size:
    rounds: int
    calls: int
    turns: int
    """Loop turns of each call: ten thousand are some hundredths of a second of a core."""
    grace_seconds: float


FULL, QUICK = Size(rounds=3, calls=200, turns=10_000, grace_seconds=20.0), Size(1, 20, 10_000, 10.0)

WATCHES, RUNNING, IDLE = 10, 4, 4
"""Health Watches; streams with a table in flight; streams that are open and ask nothing."""
SPARE_SECONDS = 2.0
SPARE_SHARE = 5
"""One caller in so many is there to keep the count full while some are answered."""
TURNS_OF_A_TABLE = 4
"""Times those of a call, so that tables are under way as long as the calls."""
CONTROL_GRACE_SECONDS = 0.2
CONTROL_TURNS = 50
"""Times a call's own, so that no machine is quick enough to end them all within that grace."""
WATCH = "/grpc.health.v1.Health/Watch"

QUICK_ONES = Asked("churn", columns((10, 2, "web")))
SHUTTING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@dataclass(frozen=True)
class Drained:
    """How a server ended, and everybody who was inside when it was told to."""

    inside: int
    """Calls, by the server's own count."""
    calls: list[Answer]
    """How those ended that had not before it counted."""
    watches: list[tuple[list[bytes], Answer]]
    running: list[bytes | None]
    streams: list[Answer]
    seconds: float
    exit_code: int | None

    @property
    def lost(self) -> int:
        answered = sum(call.ok for call in self.calls)
        return max(0, self.inside - answered) + sum(answer is None for answer in self.running)

    @property
    def uninformed(self) -> int:
        """Watches that did not hear NOT_SERVING, or that did not end in order."""
        parting = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING).SerializeToString()
        return sum(heard[-1:] != [parting] or not answer.ok for heard, answer in self.watches)

    @property
    def rude(self) -> int:
        """Streams that ended with anything but a code on which their client goes elsewhere."""
        return sum(not answer.ok and answer.code not in SHUTTING for answer in self.streams)


def run(size: Size, folder: Path) -> list[Result]:
    release_bundle(folder, "1", model=awkward_graph())
    drained = [_drain(folder, size, size.grace_seconds) for _ in range(size.rounds)]
    control = _drain(folder, replace(size, turns=CONTROL_TURNS * size.turns), CONTROL_GRACE_SECONDS)
    calls = sum(one.inside + len(one.running) for one in drained)
    return [
        told("calls and tables in flight at SIGTERM", calls, note=f"in {size.rounds} drains"),
        at_most("of them lost", sum(one.lost for one in drained), 0),
        at_most("Watches that did not hear of it and end", sum(one.uninformed for one in drained), 0),
        at_most("streams that ended otherwise than UNAVAILABLE", sum(one.rude for one in drained), 0),
        at_most("SIGTERM to exit", max(one.seconds for one in drained), size.grace_seconds + SPARE_SECONDS, "s"),
        at_most("exits with another code than 0", sum(one.exit_code != 0 for one in drained), 0),
        at_least(f"control: lost with a grace of {CONTROL_GRACE_SECONDS} s", control.lost, 1),
        at_most("control: SIGTERM to exit", control.seconds, CONTROL_GRACE_SECONDS + SPARE_SECONDS, "s"),
    ]


def _drain(folder: Path, size: Size, grace_seconds: float) -> Drained:
    streams = RUNNING + IDLE
    with serving(folder, interactive_calls=2 * size.calls, bulk_calls=streams, grace_seconds=grace_seconds) as server:
        drained = asyncio.run(_terminate(server, size))
    say(f"{drained.seconds:.2f} s, {drained.lost} lost, {[answer.code.name for answer in drained.streams]}")
    return drained


async def _terminate(server: ServerProcess, size: Size) -> Drained:
    pool, watching = Pool(server.port), await Connection.open(server.port)
    watches = [watching.start(WATCH) for _ in range(WATCHES)]
    for watch in watches:
        watch.send(b"", end=True)
        assert await watch.receive() is not None
    streams = [await _opened(pool) for _ in range(RUNNING + IDLE)]
    callers = Callers(pool, _slow(size.turns), size.calls)
    tables = _slow(TURNS_OF_A_TABLE * size.turns)
    for stream in streams[:RUNNING]:
        stream.send(tables.stream_table(2))
    inside = await callers.pause_when_inside(server, size.calls)
    server.terminate()
    ending = asyncio.create_task(ended(server, size.grace_seconds + PATIENCE_SECONDS))
    running = await asyncio.gather(*(stream.receive() for stream in streams[:RUNNING]))
    await callers.stop()
    seconds, code = await ending
    heard = [(await _rest(watch), await watch.done) for watch in watches]
    ends = await asyncio.gather(*(stream.done for stream in streams))
    return Drained(inside, callers.answers, heard, running, ends, seconds, code)


async def _opened(pool: Pool) -> Stream:
    """A stream that has been answered once."""
    stream = (await pool.connection()).start(QUICK_ONES.methods.stream.path)
    stream.send(QUICK_ONES.stream_table(1))
    assert await stream.receive() is not None
    return stream


def _slow(turns: int) -> Asked:
    return Asked("churn", columns((10, SLOW_ABOVE + turns, "web")))


class Callers:
    """People who call again as soon as they are answered, until they are told to pause."""

    def __init__(self, pool: Pool, asked: Asked, calls: int) -> None:
        self.answers: list[Answer] = []
        self._pool = pool
        self._asked = asked
        self._running = asyncio.Event()
        self._stopped = False
        self._running.set()
        self._tasks = [asyncio.create_task(self._call()) for _ in range(calls + calls // SPARE_SHARE)]

    async def _call(self) -> None:
        while not self._stopped:
            path = self._asked.methods.one.path
            self.answers.append(await self._pool.call(path, self._asked.rows[0], PATIENCE_SECONDS))
            await self._running.wait()

    async def pause_when_inside(self, server: ServerProcess, calls: int) -> int:
        """Waits until the server counts so many calls inside and nobody begins another; the server's count.

        `answers` then are those of calls that were under way when it counted, and of no earlier ones.
        """
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while time.perf_counter() < deadline:
            self._running.clear()
            self.answers.clear()
            inside = await asyncio.to_thread(server.metric, "regulars_calls_in_flight", lane="interactive")
            if inside >= calls:
                return int(inside)
            self._running.set()
            await asyncio.sleep(0.1)
        raise AssertionError(f"the server never had {calls} calls in flight")

    async def stop(self) -> None:
        """Waits for the calls that are under way."""
        self._stopped = True
        self._running.set()
        await asyncio.gather(*self._tasks)


async def _rest(stream: Stream) -> list[bytes]:
    heard = []
    while (message := await stream.receive()) is not None:
        heard.append(message)
    return heard
