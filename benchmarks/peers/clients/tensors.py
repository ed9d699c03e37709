"""Triton's client, which MLServer's users are told to take as well."""

from __future__ import annotations

import queue
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio

from benchmarks.peers.clients import script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

MODEL, OUTPUT = "churn", "churn_probability"


@contextmanager
def connect(port: int) -> Iterator[script.Ask]:
    """A client a thread: it says that threads may not share one."""
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:

        def ask(row: list[float]) -> float:
            return float(_scores(client.infer(MODEL, _inputs(np.array([row], np.float32))))[0])

        yield ask


@asynccontextmanager
async def connect_async(port: int) -> AsyncIterator[script.AskLater]:
    async with tritonclient.grpc.aio.InferenceServerClient(f"127.0.0.1:{port}") as client:

        async def ask(row: list[float]) -> float:
            return float(_scores(await client.infer(MODEL, _inputs(np.array([row], np.float32))))[0])

        yield ask


def score(port: int, tables: Iterable[script.Matrix]) -> Iterator[script.Matrix]:
    """Calls whose answers come by callback, so many of them at once."""
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    waiting = 0
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for table in tables:
            client.async_infer(MODEL, _inputs(table), lambda result, error: answers.put((result, error)))
            waiting += 1
            if waiting == script.IN_FLIGHT:
                yield _next(answers)
                waiting -= 1
        for _ in range(waiting):
            yield _next(answers)


def _next(answers: queue.SimpleQueue[tuple[Any, Any]]) -> script.Matrix:
    result, error = answers.get()
    if error is not None:
        raise error
    return _scores(result)


def _inputs(rows: script.Matrix) -> list[Any]:
    given = tritonclient.grpc.InferInput("numeric", rows.shape, "FP32")
    given.set_data_from_numpy(rows)
    return [given]


def _scores(result: Any) -> script.Matrix:
    scores: script.Matrix = result.as_numpy(OUTPUT).ravel()
    return scores


if __name__ == "__main__":
    script.main(sys.modules[__name__])
