"""Workers die by SIGKILL, one after another: callers who use the suite's client do not notice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from tests.support.bundles import release_bundle
from tests.support.polling import PATIENCE_SECONDS
from tests.support.server import REPOSITORY
from tests.trials.harness import Result, at_least, at_most, say, told
from tests.trials.servers import supervising

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Size:
    seconds: float
    control_seconds: float
    seed: int = 1


FULL, QUICK = Size(seconds=60.0, control_seconds=15.0), Size(3.0, 3.0)

WORKERS = 4
CLIENTS = 4
"""Processes, each with one client and so with one connection."""
RATE = 200.0
"""Requests a second, of all clients together."""
EVERY_SECONDS = 1.0
FREEZE_SECONDS = 0.1
"""A worker hangs for so long before it dies, so that calls are in it, as they are in a busy one."""


@dataclass(frozen=True)
class Killed:
    """How the calls ended that were made while workers died, and how many died."""

    outcomes: Counter[str]
    kills: int
    slowest: float
    fewest_alive: int

    @property
    def failed(self) -> int:
        return self.outcomes.total() - self.outcomes["OK"]


def run(size: Size, folder: Path) -> list[Result]:
    release_bundle(folder, "1")
    tried = _try(folder, size.seconds, size.seed)
    control = _try(folder, size.control_seconds, size.seed, "--without-retries")
    expected = RATE * size.seconds
    return [
        told(
            "workers killed", tried.kills, note=f"of {WORKERS}, one a second; at the least {tried.fewest_alive} alive"
        ),
        # Callers that fall behind their rate would have met fewer kills.
        at_least(
            "calls", tried.outcomes.total(), 0.99 * expected, note=f"{RATE:.0f} a second from {CLIENTS} processes"
        ),
        at_most("failures visible to the caller", tried.failed, 0, note=_spelled(tried.outcomes)),
        told("slowest call, its retries within", tried.slowest, "s"),
        at_least("control: failures without retries", control.failed, 1, note=_spelled(control.outcomes)),
    ]


def _spelled(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common(3) if outcome != "OK")


def _try(folder: Path, seconds: float, seed: int, *options: str) -> Killed:
    chance = random.Random(seed)
    kills, fewest = 0, WORKERS
    with supervising(folder, WORKERS, poll_seconds=1.0) as server, ExitStack() as clients:
        server.wait_for("listening", WORKERS)
        calling = [clients.enter_context(_client(server.port, seconds, *options)) for _ in range(CLIENTS)]
        began = time.perf_counter()
        while (due := (kills + 1) * EVERY_SECONDS) < seconds:
            time.sleep(max(0.0, began + due - time.perf_counter()))
            alive = _workers(server)
            fewest = min(fewest, max(0, len(alive) - 1))
            if alive:
                _kill(chance.choice([worker for worker in alive if _is_connected(worker)] or alive))
            kills += 1
        reports = [json.loads(client.communicate(timeout=seconds + PATIENCE_SECONDS)[0]) for client in calling]
    outcomes = sum((Counter(report["outcomes"]) for report in reports), Counter[str]())
    killed = Killed(outcomes, kills, max(report["slowest"] for report in reports), fewest)
    say(f"{kills} kills, {killed.failed} of {outcomes.total()} calls failed: {_spelled(outcomes)}")
    return killed


def _workers(server: ServerProcess) -> list[psutil.Process]:
    return [child for child in psutil.Process(server.process.pid).children() if _command(child)]


def _command(process: psutil.Process) -> list[str]:
    """Nothing of a process that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _is_connected(worker: psutil.Process) -> bool:
    try:
        connections = worker.net_connections("tcp")
    except psutil.Error:
        return False
    return any(connection.status == psutil.CONN_ESTABLISHED for connection in connections)


def _kill(worker: psutil.Process) -> None:
    worker.send_signal(signal.SIGSTOP)
    time.sleep(FREEZE_SECONDS)
    worker.send_signal(signal.SIGKILL)


@contextmanager
def _client(port: int, seconds: float, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun to call."""
    command = [sys.executable, "-m", "tests.trials.client_process", str(port), str(seconds), str(RATE / CLIENTS)]
    with subprocess.Popen([*command, *options], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "calling\n"
            yield process
        finally:
            process.kill()
