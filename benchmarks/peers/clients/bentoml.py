"""BentoML's own clients."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import bentoml
import numpy as np

from benchmarks.peers.clients import script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator


@contextmanager
def connect(port: int) -> Iterator[script.Ask]:
    """A client a thread."""
    with bentoml.SyncHTTPClient(f"http://127.0.0.1:{port}") as client:

        def ask(row: list[float]) -> float:
            return float(client.predict(numeric=[row])[0][0])

        yield ask


@asynccontextmanager
async def connect_async(port: int) -> AsyncIterator[script.AskLater]:
    async with bentoml.AsyncHTTPClient(f"http://127.0.0.1:{port}") as client:

        async def ask(row: list[float]) -> float:
            return float((await client.predict(numeric=[row]))[0][0])

        yield ask


def score(port: int, tables: Iterable[script.Matrix]) -> list[script.Matrix]:
    return asyncio.run(_score(port, tables))


async def _score(port: int, tables: Iterable[script.Matrix]) -> list[script.Matrix]:
    async with bentoml.AsyncHTTPClient(f"http://127.0.0.1:{port}") as client:

        async def send(rows: script.Matrix) -> script.Matrix:
            return np.array(await client.predict(numeric=rows.tolist()), np.float32).ravel()

        return [scores async for scores in script.in_flight(send, tables)]


if __name__ == "__main__":
    script.main(sys.modules[__name__])
