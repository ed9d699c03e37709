"""The wall clock jumps a day forward and back: deadlines, releases, backoffs and drains go by clocks that do not."""

from __future__ import annotations

import asyncio
import re
import signal
import struct
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil

from tests.support.bundles import SLOW_ABOVE, awkward_graph, columns, release_bundle
from tests.support.polling import PATIENCE_SECONDS
from tests.trials.harness import Result, at_least, at_most, say, told
from tests.trials.http2 import Pool
from tests.trials.load import Tally, ask_at_rate, pushback
from tests.trials.requests import Asked, said
from tests.trials.servers import ended, serving, supervising

if TYPE_CHECKING:
    from tests.support.server import ServerProcess
    from tests.trials.http2 import Answer


@dataclass(frozen=True)
class Size:
    jumps: int
    seconds: float
    """Between two jumps."""
    grace_seconds: float


FULL, QUICK = Size(jumps=24, seconds=2.0, grace_seconds=4.0), Size(2, 0.5, 2.0)

A_DAY = 86_400
RATE = 100.0
DEADLINE_SECONDS = 0.3
WORST_DEADLINE_SECONDS = 2.0
"""After the deadline a call may end when its slice of work is done."""
WORST_FOLLOWING_SECONDS = 5.0
WORST_RESTART_SECONDS = 10.0
SPARE_SECONDS = 2.0

QUICK_ONES = Asked("churn", columns((10, 2, "web"), (20, 1, "shop")))
SLOW_ONES = Asked("churn", columns((10, SLOW_ABOVE + 600_000, "web")))
"""Longer than their deadline."""
LONG_ONES = Asked("churn", columns(*[(10, SLOW_ABOVE + 300_000, "web")] * 10_000))
"""Ten slices, each of about half a second: longer than the grace here, and looked at after each slice."""


class WallClock:
    """What the servers that are given it take for the time of day."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "moved-by"
        library = folder / "clock.so"
        source = Path(__file__).with_suffix(".c")
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        except FileNotFoundError:
            raise RuntimeError("the trial of the clock needs a C compiler, cc, which Debian has in gcc") from None
        self._file.write_bytes(struct.pack("q", 0))
        self.environment = {"LD_PRELOAD": str(library), "TRIAL_CLOCK": str(self._file)}

    def move(self, seconds: int) -> None:
        # In place: servers look at this very file.
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))


@dataclass
class Followed:
    """How long what goes by a clock took while the wall clock jumped."""

    following: list[float]
    expiring: list[float]
    codes: Counter[str]
    """How calls ended whose deadline was to pass."""


def run(size: Size, folder: Path) -> list[Result]:
    clock = WallClock(folder)
    bundles = folder / "bundles"
    release_bundle(bundles, "0", model=awkward_graph())
    tally, followed = Tally(), Followed([], [], Counter())
    with serving(bundles, environment=clock.environment, grace_seconds=size.grace_seconds, poll_seconds=0.2) as server:
        asyncio.run(_jump(server, clock, bundles, size, tally, followed))
        negative = _negative(server)
        stamped = _furthest_stamp(server)
        drain_seconds, code = asyncio.run(_drain(server, clock, size.grace_seconds + PATIENCE_SECONDS))
    restart = _restart(bundles, clock)
    say(f"followed in {max(followed.following):.2f} s, drained in {drain_seconds:.2f} s, restarted in {restart:.2f} s")
    return [
        told("jumps of a day", size.jumps, note="forward, back, back, forward"),
        at_least("control: how far the server's own log was from the time", stamped / 3600, 23, "hours"),
        at_most("calls that failed", tally.failed, 0, note=str(dict(tally.codes)), timed=True),
        at_most("slowest call", tally.p(100) / 1000, PATIENCE_SECONDS, "s"),
        at_most(
            "calls past their deadline that were not told so",
            *(size.jumps - followed.codes["DEADLINE_EXCEEDED"], 0, "", str(dict(followed.codes))),
        ),
        at_most(
            f"calls with {DEADLINE_SECONDS} s to live: until told", max(followed.expiring), WORST_DEADLINE_SECONDS, "s"
        ),
        at_most("release to served", max(followed.following), WORST_FOLLOWING_SECONDS, "s"),
        at_most("latencies in metrics that are negative or a day long", negative, 0),
        at_most("SIGTERM to exit, the clock jumping within", drain_seconds, size.grace_seconds + SPARE_SECONDS, "s"),
        at_most("exits with another code than 0", int(code != 0), 0),
        at_most("killed worker to its restart, the clock jumping within", restart, WORST_RESTART_SECONDS, "s"),
    ]


async def _jump(
    server: ServerProcess, clock: WallClock, bundles: Path, size: Size, tally: Tally, followed: Followed
) -> None:
    """Moves the clock while people call, and looks each time at what goes by a clock."""
    pool, stopping = Pool(server.port), asyncio.Event()
    one = QUICK_ONES.methods.one.path
    calling = asyncio.create_task(ask_at_rate(pool, lambda: (one, QUICK_ONES.rows[0]), tally, RATE, stopping))
    for jump in range(size.jumps):
        expiring = asyncio.create_task(_admitted(pool, one, SLOW_ONES.rows[0]))
        await asyncio.sleep(DEADLINE_SECONDS / 3)
        clock.move((A_DAY, 0, -A_DAY, 0)[jump % 4])
        answer = await expiring
        followed.expiring.append(answer.seconds)
        followed.codes[answer.code.name] += 1
        await asyncio.to_thread(release_bundle, bundles, str(jump + 1), model=awkward_graph())
        followed.following.append(await _seconds_until_served(pool, str(jump + 1)))
        await asyncio.sleep(size.seconds)
    clock.move(A_DAY)
    stopping.set()
    await calling
    pool.close()


async def _admitted(pool: Pool, path: str, message: bytes) -> Answer:
    """How a call with a deadline ends that found a place in the lane."""
    while True:
        answer = await pool.call(path, message, DEADLINE_SECONDS)
        if answer.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            return answer
        await asyncio.sleep(pushback(answer))


async def _seconds_until_served(pool: Pool, version: str) -> float:
    """Infinite where it is not served in time."""
    one, began = QUICK_ONES.methods.one, time.perf_counter()
    while (waited := time.perf_counter() - began) < PATIENCE_SECONDS:
        answer = await pool.call(one.path, QUICK_ONES.rows[0])
        if answer.ok and said(one, answer.messages()[0])[0] == version:
            return waited
        await asyncio.sleep(0.02)
    return float("inf")


def _negative(server: ServerProcess) -> int:
    """Sums of seconds on the metrics page that a jump has spoilt."""
    sums = re.findall(r"^\w+_seconds_sum(?:{.*})? (\S+)$", server.metrics(), re.MULTILINE)
    assert sums, "the metrics page has no latencies"
    return sum(not 0 <= float(seconds) < A_DAY / 2 for seconds in sums)


def _furthest_stamp(server: ServerProcess) -> float:
    """Seconds between the time and what the server's log took it for, at most."""
    now = datetime.now(UTC)
    times = [datetime.fromisoformat(event["time"]) for event in server.events("serving")]
    return max(abs((now - stamp).total_seconds()) for stamp in times)


async def _drain(server: ServerProcess, clock: WallClock, patience_seconds: float) -> tuple[float, int | None]:
    """Seconds from SIGTERM to the exit of a server with a call that outlasts its grace, and its exit code."""
    pool = Pool(server.port)
    outlasting = asyncio.create_task(pool.call(LONG_ONES.methods.batch.path, LONG_ONES.table))
    await asyncio.sleep(0.3)
    server.terminate()
    ending = asyncio.create_task(ended(server, patience_seconds))
    for moved_by in (-A_DAY, A_DAY, 0):
        await asyncio.sleep(0.3)
        clock.move(moved_by)
    seconds, code = await ending
    outlasting.cancel()
    return seconds, code


def _restart(bundles: Path, clock: WallClock) -> float:
    """Seconds from a worker's death to the moment when another listens in its place."""
    clock.move(0)
    with supervising(bundles, 2, environment=clock.environment) as server:
        server.wait_for("listening", 2)
        worker = psutil.Process(server.process.pid).children()[0]
        worker.send_signal(signal.SIGKILL)
        began = time.perf_counter()
        clock.move(-A_DAY)
        server.wait_for("listening", 3)
        return time.perf_counter() - began
