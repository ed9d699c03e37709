"""MLflow has no client for what it serves: requests in threads, aiohttp in tasks."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np
import requests

from benchmarks.peers.clients import script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

OUTPUT = "churn_probability"


@contextmanager
def connect(port: int) -> Iterator[script.Ask]:
    """A session a thread."""
    with requests.Session() as session:

        def ask(row: list[float]) -> float:
            response = session.post(_url(port), json=_question([row]))
            response.raise_for_status()
            return _scores(response.json())[0]

        yield ask


@asynccontextmanager
async def connect_async(port: int) -> AsyncIterator[script.AskLater]:
    async with _session() as session:

        async def ask(row: list[float]) -> float:
            async with session.post(_url(port), json=_question([row])) as response:
                response.raise_for_status()
                return _scores(await response.json())[0]

        yield ask


def score(port: int, tables: Iterable[script.Matrix]) -> list[script.Matrix]:
    return asyncio.run(_score(port, tables))


async def _score(port: int, tables: Iterable[script.Matrix]) -> list[script.Matrix]:
    async with _session() as session:

        async def send(rows: script.Matrix) -> script.Matrix:
            async with session.post(_url(port), json=_question(rows.tolist())) as response:
                response.raise_for_status()
                return np.array(_scores(await response.json()), np.float32)

        return [scores async for scores in script.in_flight(send, tables)]


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=script.CALLERS))


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/invocations"


def _question(rows: list[list[float]]) -> dict[str, Any]:
    return {"inputs": {"numeric": rows}}


def _scores(answer: Any) -> list[float]:
    return [score for (score,) in answer["predictions"][OUTPUT]]


if __name__ == "__main__":
    script.main(sys.modules[__name__])
