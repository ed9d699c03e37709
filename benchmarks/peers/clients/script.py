"""What the clients' scripts have in common: each runs in its peer's environment, as that peer's users would write it.

python -m benchmarks.peers.clients.NAME PORT ROWS.npz threads|asyncio SECONDS
python -m benchmarks.peers.clients.NAME PORT ROWS.npz bulk TABLES

`ROWS.npz` holds known customers and their scores; every answer is compared with them. 32 callers ask for one customer
each, or a table of them all is sent again and again. Prints a JSON object of rates and milliseconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import ModuleType

CALLERS = 32
WARM_UP_SECONDS = 1.0
TOLERANCE = 1e-6
IN_FLIGHT = 8
"""Tables at once, as many as our own client sends ahead."""

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Ask = Callable[[list[float]], float]
AskLater = Callable[[list[float]], Awaitable[float]]


class Client(Protocol):
    """A module of this package."""

    def connect(self, port: int) -> AbstractContextManager[Ask]:
        """What one thread asks with."""

    def connect_async(self, port: int) -> AbstractAsyncContextManager[AskLater]:
        """What all tasks ask with."""

    def score(self, port: int, tables: Iterable[Matrix]) -> Iterable[Matrix]:
        """Sends tables as its users would send a million rows; the scores of each, (N,), in any order."""


class Caller:
    """Asks for known customers in turn until the time is up, and measures from the end of the warm-up."""

    def __init__(self, rows: Matrix, expected: Matrix, seconds: float) -> None:
        self.milliseconds: list[float] = []
        self._customers = list(zip(rows.tolist(), expected.tolist(), strict=True))
        self._counted_from = perf_counter() + WARM_UP_SECONDS
        self._until = self._counted_from + seconds

    def customers(self) -> Iterator[tuple[list[float], float]]:
        for row, expected in itertools.cycle(self._customers):
            if perf_counter() >= self._until:
                return
            yield row, expected

    def count(self, began: float, score: float, expected: float) -> None:
        now = perf_counter()
        require(abs(score - expected) <= TOLERANCE)
        if self._counted_from <= began and now <= self._until:
            self.milliseconds.append((now - began) * 1000)


def require(right: bool) -> None:
    if not right:
        sys.exit("an answer was wrong")


def by_threads(client: Client, port: int, callers: list[Caller]) -> None:
    failures: list[BaseException] = []

    def work(caller: Caller) -> None:
        try:
            with client.connect(port) as ask:
                for row, expected in caller.customers():
                    began = perf_counter()
                    caller.count(began, ask(row), expected)
        except BaseException as error:  # noqa: BLE001 - told below, in the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


async def by_tasks(client: Client, port: int, callers: list[Caller]) -> None:
    async def work(ask: AskLater, caller: Caller) -> None:
        for row, expected in caller.customers():
            began = perf_counter()
            caller.count(began, await ask(row), expected)

    async with client.connect_async(port) as ask:
        await asyncio.gather(*(work(ask, caller) for caller in callers))


async def in_flight(
    send: Callable[[Matrix], Coroutine[Any, Any, Matrix]], tables: Iterable[Matrix]
) -> AsyncIterator[Matrix]:
    """The answers to tables of which so many are sent at once."""
    waiting: set[asyncio.Task[Matrix]] = set()
    for table in tables:
        waiting.add(asyncio.create_task(send(table)))
        if len(waiting) == IN_FLIGHT:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    for last in asyncio.as_completed(waiting):
        yield await last


def main(module: ModuleType) -> None:
    """Runs the client that the module is as the arguments say."""
    client = cast("Client", module)
    port, file, mode, size = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
    with np.load(file) as known:
        rows, expected = known["rows"], known["expected"]
    if mode == "bulk":
        began = perf_counter()
        for scores in client.score(port, itertools.repeat(rows, int(size))):
            require(scores.shape == expected.shape and np.allclose(scores, expected, rtol=0, atol=TOLERANCE))
        print(json.dumps({"rate": len(rows) * size / (perf_counter() - began)}))
        return
    callers = [Caller(rows, expected, size) for _ in range(CALLERS)]
    if mode == "threads":
        by_threads(client, port, callers)
    else:
        asyncio.run(by_tasks(client, port, callers))
    milliseconds = [value for caller in callers for value in caller.milliseconds]
    if not milliseconds:
        sys.exit("no call was answered in time")
    p50, p99 = np.percentile(milliseconds, [50, 99]).tolist()
    print(json.dumps({"rate": len(milliseconds) / size, "p50": p50, "p99": p99}))
