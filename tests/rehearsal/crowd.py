"""A process with far more callers of churn than its lane has places, until its standard input closes.

python -m tests.rehearsal.crowd PORT HEALTH_PORT CUSTOMERS CALLERS        says how their calls ended, as JSON
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import pyarrow.parquet as pq

from services.client import ChurnClient, customer
from services.methods import methods_of
from tests.rehearsal.callers import rows_of
from tests.trials.http2 import Pool
from tests.trials.load import Tally, ask_on, health_watched

if TYPE_CHECKING:
    from collections.abc import Awaitable

DIFFERENT_CUSTOMERS = 200
ROUND_SECONDS = 0.5


class Crowded(TypedDict):
    """How calls ended, by code, the p99 of those that were admitted, and what became of health checks meanwhile."""

    codes: dict[str, int]
    milliseconds: float
    checks: int
    unhealthy: int


def main() -> None:
    port, health_port, file, callers = sys.argv[1:]
    requests = _requests(int(port), Path(file))
    crowded = asyncio.run(_crowd(int(port), int(health_port), requests, int(callers)))
    print(json.dumps(crowded))  # noqa: T201 - what it is for


def _requests(port: int, file: Path) -> list[bytes]:
    with ChurnClient(f"127.0.0.1:{port}") as client:
        names = [one.name for one in client.get_model().model.inputs]
    request = methods_of(ChurnClient.SERVICE).one.request
    rows = rows_of(pq.read_table(file).slice(0, DIFFERENT_CUSTOMERS), names)
    return [request(customer=customer(identifier, features)).SerializeToString() for identifier, features in rows]


async def _crowd(port: int, health_port: int, requests: list[bytes], callers: int) -> Crowded:
    pool, tally, messages = Pool(port), Tally(), itertools.cycle(requests)
    path = methods_of(ChurnClient.SERVICE).one.path
    over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    async def caller() -> None:
        while not over.done():
            await ask_on(pool, lambda: (path, next(messages)), tally, time.perf_counter() + ROUND_SECONDS)

    async with health_watched(health_port) as health:
        calls: list[Awaitable[None]] = [caller() for _ in range(callers)]
        await asyncio.gather(*calls)
    pool.close()
    return Crowded(codes=dict(tally.codes), milliseconds=tally.p(99), checks=health.total, unhealthy=health.failed)


if __name__ == "__main__":
    main()
