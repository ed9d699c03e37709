"""Open loops: callers come when they come, whether the earlier ones are answered or not.

What is measured is the time from when a call was due, so that waiting counts wherever it happens: in the server, in
front of it, or here because a call was sent late. Between calls this process does not sleep, it looks: a timer's
millisecond would be longer than most answers.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING

import grpc
import numpy as np

from benchmarks.peers import http1
from benchmarks.peers.regulars import STREAM
from regulars.churn.v1 import churn_pb2
from services.client.channel import MAX_ATTEMPTS
from tests.trials import http2
from tests.trials.load import pushback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from numpy.typing import NDArray

    from benchmarks.peers.peer import Question
    from benchmarks.peers.running import Running

    Call = Callable[[], Awaitable[bool]]

PATIENCE_SECONDS = 5.0
"""What is not answered so long after the last call was due has failed."""

WARM_UP_CALLS = 50
BULK_HEAD_START_SECONDS = 0.5


@dataclass
class Tally:
    """Milliseconds from when calls were due to their answers, and how late they were sent.

    `failed` were not answered; `refused` are attempts of calls that were made again, all of which is their time.
    """

    milliseconds: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    failed: int = 0
    refused: int = 0

    def p(self, share: float) -> float:
        """Milliseconds. A call that failed took longer than any that did not."""
        return percentile(self.milliseconds, self.failed, share)


def percentile(milliseconds: list[float], failed: int, share: float) -> float:
    values = np.append(milliseconds, np.full(failed, np.inf))
    return float(np.percentile(values, share, method="higher")) if len(values) else float("nan")


def schedule(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """When calls are due, in seconds: `rate` of them a second, independent of each other as callers are."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, round(rate * seconds))
    return np.cumsum(gaps)


async def at_times(call: Call, due: NDArray[np.float64]) -> Tally:
    """Calls at these times from now on."""
    tally = Tally()
    began = perf_counter()

    async def one(when: float) -> None:
        tally.late.append((perf_counter() - when) * 1000)
        if await call():
            tally.milliseconds.append((perf_counter() - when) * 1000)
        else:
            tally.failed += 1

    tasks = set()
    for after in due.tolist():
        while perf_counter() < began + after:  # noqa: ASYNC110 - it looks, as said above
            await asyncio.sleep(0)
        tasks.add(asyncio.create_task(one(began + after)))
    _, unanswered = await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
    for task in unanswered:
        task.cancel()
    tally.failed += len(unanswered)
    return tally


def interactive(
    running: Running, rate: float, seconds: float, seed: int, bulk_in_flight: int = 0
) -> tuple[Tally, float]:
    """Callers of one customer each, and the rows a second that a bulk got beside them."""
    gc.collect()
    gc.disable()
    try:
        return asyncio.run(_interactive(running, schedule(rate, seconds, seed), bulk_in_flight))
    finally:
        gc.enable()


async def _interactive(running: Running, due: NDArray[np.float64], bulk_in_flight: int) -> tuple[Tally, float]:
    peer, subject = running.peer, running.subject
    caller = Caller.of(running, peer.question(subject, subject.rows.slice(0, 1)))
    for _ in range(WARM_UP_CALLS):
        await caller.call()
    if bulk_in_flight:
        bulk = Bulk(running, bulk_in_flight)
        work = asyncio.create_task(bulk.run())
        await asyncio.sleep(BULK_HEAD_START_SECONDS)
        before, began = bulk.rows, perf_counter()
        tally = await at_times(caller.call, due)
        rate = (bulk.rows - before) / (perf_counter() - began)
        bulk.stopping = True
        await work
    else:
        tally, rate = await at_times(caller.call, due), 0.0
    tally.refused = caller.refused
    caller.close()
    return tally, rate


class Caller(ABC):
    """Asks one question on connections of its own."""

    refused = 0
    """Attempts of calls that were made again."""

    @staticmethod
    def of(running: Running, question: Question) -> Caller:
        kind = GrpcCaller if running.peer.wire == "gRPC" else JsonCaller
        return kind(running.port, question)

    @abstractmethod
    async def call(self) -> bool:
        """Whether it was answered."""

    @abstractmethod
    def close(self) -> None: ...


class GrpcCaller(Caller):
    """Asks again where it is refused and told when, as gRPC's clients do of themselves."""

    def __init__(self, port: int, question: Question) -> None:
        self._pool = http2.Pool(port)
        self._question = question

    async def call(self) -> bool:
        for _ in range(MAX_ATTEMPTS - 1):
            answer = await self._pool.call(self._question.path, self._question.body)
            if answer.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                break
            self.refused += 1
            await asyncio.sleep(pushback(answer))
        else:
            answer = await self._pool.call(self._question.path, self._question.body)
        return answer.ok and len(answer.body) > http2.MESSAGE_HEAD

    def close(self) -> None:
        self._pool.close()


class JsonCaller(Caller):
    """A call a connection at a time."""

    def __init__(self, port: int, question: Question) -> None:
        self._pool = http1.Pool(port)
        self._data = http1.request(question.path, question.body)

    async def call(self) -> bool:
        return (await self._pool.call(self._data)).status == HTTPStatus.OK

    def close(self) -> None:
        self._pool.close()


class Bulk:
    """Tables, so many in flight, until it is stopped: a stream where the system has one, else calls."""

    def __init__(self, running: Running, in_flight: int) -> None:
        self.rows = 0
        """Scored so far."""
        self.stopping = False
        self._running = running
        self._in_flight = in_flight
        self._table = running.subject.rows
        self._question = running.peer.bulk(running.subject, self._table)

    async def run(self) -> None:
        if self._question.path == STREAM:
            await self._stream()
        else:
            caller = Caller.of(self._running, self._question)
            await asyncio.gather(*(self._ask(caller) for _ in range(self._in_flight)))
            caller.close()

    async def _ask(self, caller: Caller) -> None:
        while not self.stopping:
            if await caller.call():
                self.rows += len(self._table)

    async def _stream(self) -> None:
        connection = await http2.Connection.open(self._running.port)
        stream = connection.start(STREAM)
        numbers = itertools.count()
        for _ in range(self._in_flight):
            stream.send(self._numbered(next(numbers)))
        while not self.stopping:
            answer = await stream.receive()
            assert answer is not None, "the server ended the stream"
            assert churn_pb2.StreamPredictChurnResponse.FromString(answer).HasField("predictions")
            self.rows += len(self._table)
            stream.send(self._numbered(next(numbers)))
        stream.cancel()
        connection.close()

    def _numbered(self, sequence: int) -> bytes:
        # Two messages in a row are one with the fields of both.
        return churn_pb2.StreamPredictChurnRequest(sequence=sequence).SerializeToString() + self._question.body
