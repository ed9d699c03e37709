"""The servers that are tried: processes of the serving environment, on a core of their own where there are two."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from tests.support.server import REPOSITORY, SUPERVISOR, ServerProcess, running, server_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVING_PYTHON = str(REPOSITORY / ".venv-serving" / "bin" / "python")
FAULTY = "tests.trials.faulty_server"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
WORST_GROWTH_MB = 32.0
"""How much a server that leaks nothing may grow once it is warm."""


def leave_the_servers_core() -> None:
    """Moves this process, the load, off the core of the servers."""
    os.sched_setaffinity(0, {LOAD_CORE})


@contextmanager
def serving(
    bundles: Path,
    model: str = "churn",
    *,
    entry: str = "",
    environment: dict[str, str] | None = None,
    **settings: object,
) -> Iterator[ServerProcess]:
    """One server process on its core; `entry` is a module that starts another than the suite's own."""
    command = (SERVING_PYTHON, *(("-m", entry, model) if entry else server_of(model)))
    with running(
        bundles, python="taskset", command=("-c", str(SERVER_CORE), *command), environment=environment, **settings
    ) as server:
        yield server


@contextmanager
def supervising(
    bundles: Path, workers: int, *, environment: dict[str, str] | None = None, **settings: object
) -> Iterator[ServerProcess]:
    """Workers under a supervisor, on any core."""
    here = os.sched_getaffinity(0)
    # What a process starts inherits its cores.
    os.sched_setaffinity(0, CORES)
    try:
        with running(
            bundles,
            python=SERVING_PYTHON,
            command=SUPERVISOR,
            environment=environment,
            **{"workers": workers, **settings},
        ) as server:
            os.sched_setaffinity(0, here)
            yield server
    finally:
        os.sched_setaffinity(0, here)


def resident_mb(server: ServerProcess) -> float:
    return float(psutil.Process(server.process.pid).memory_info().rss) / 2**20


async def ended(server: ServerProcess, patience_seconds: float) -> tuple[float, int | None]:
    """Seconds until the process has ended, and its exit code; infinite and None where it does not in time."""
    began = time.perf_counter()
    while server.process.poll() is None:
        if time.perf_counter() - began > patience_seconds:
            return float("inf"), None
        await asyncio.sleep(0.01)
    return time.perf_counter() - began, server.process.returncode
