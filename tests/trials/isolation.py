"""Registry and sync are cut off, then the bundles are gone: servers serve on, and a restart says what is missing."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from services.core.errors import NO_MODEL
from tests.support.bundles import release_bundle
from tests.support.polling import eventually
from tests.trials.harness import Result, at_least, at_most, say, told
from tests.trials.http2 import Connection, Pool
from tests.trials.load import CHECK, HEALTHY, Tally, ask_at_rate
from tests.trials.requests import Asked, customers
from tests.trials.servers import supervising

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Size:
    seconds: float
    """Of each stage."""


FULL, QUICK = Size(seconds=20.0), Size(1.0)

RATE = 100.0
WORKERS = 2
CONNECTIONS = 8
NEWCOMERS = 40
"""Connections after a restart: each comes to either worker."""
TRACKING = "MLFLOW_TRACKING_URI"
ASKED = Asked("churn", customers(50))
ONE = ASKED.methods.one.path


class SilentRegistry:
    """An address that takes connections and never answers, like a registry that hangs; it counts who comes."""

    def __init__(self) -> None:
        self.callers: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            self.callers.append(self._listening.accept()[0])


@dataclass(frozen=True)
class Restarted:
    """What a worker said that was started anew where there are no bundles."""

    lines: list[str]
    """Of the log, that name the folder."""
    refused: int
    """Calls that were told NO_MODEL_LOADED: none where such a worker takes no calls at all."""
    otherwise: int
    """Calls that were told anything but that and the score, or by a worker that calls itself SERVING."""


def run(size: Size, folder: Path) -> list[Result]:
    registry = SilentRegistry()
    bundles = folder / "bundles"
    release = release_bundle(bundles, "1")
    model = bundles / "churn"
    bundle, aside = model / release.digest, folder / "aside"
    with supervising(bundles, WORKERS, environment={TRACKING: registry.uri}, poll_seconds=0.1) as server:
        server.wait_for("listening", WORKERS)
        stages = {"registry cut off": asyncio.run(_serve(server, size.seconds))}
        model.chmod(0o555)
        stages["folder read-only"] = asyncio.run(_serve(server, size.seconds))
        model.chmod(0o755)
        bundle.rename(aside)
        stages["bundle gone"] = asyncio.run(_serve(server, size.seconds))
        aside.rename(bundle)
        model.rename(aside)
        stages["folder gone"] = asyncio.run(_serve(server, size.seconds))
        restarted = asyncio.run(_restart(server, model))
        aside.rename(model)
        eventually(lambda: server.metric("regulars_swaps_total", outcome="served") > WORKERS, "the folder's return")
        stages["folder back"] = asyncio.run(_serve(server, size.seconds))
    say("; ".join(f"{name}: {dict(tally.codes)}" for name, tally in stages.items()))
    say("".join(restarted.lines[:1]).strip())
    callers = len(registry.callers)
    return [
        *(
            at_most(f"{name}: calls that failed", tally.failed, 0, note=f"of {tally.total}")
            for name, tally in stages.items()
        ),
        at_least("a worker restarted without bundles: log lines that name the folder", len(restarted.lines), 1),
        told("a worker restarted without bundles: calls told NO_MODEL_LOADED", restarted.refused),
        at_most("a worker restarted without bundles: calls told otherwise", restarted.otherwise, 0),
        at_most("connections to the registry", callers, 0),
        at_least("control: connections counted when somebody does call it", _control(registry) - callers, 1),
    ]


def _control(registry: SilentRegistry) -> int:
    before = len(registry.callers)
    with socket.create_connection(("127.0.0.1", registry.port)):
        eventually(lambda: len(registry.callers) > before, "the control's own connection")
    return len(registry.callers)


async def _serve(server: ServerProcess, seconds: float) -> Tally:
    """Calls on so many connections that every worker has some."""
    tally, stopping, rows = Tally(), asyncio.Event(), itertools.cycle(ASKED.rows)
    pools = [Pool(server.port) for _ in range(CONNECTIONS)]
    asyncio.get_running_loop().call_later(seconds, stopping.set)
    rate = RATE / CONNECTIONS
    await asyncio.gather(*(ask_at_rate(pool, lambda: (ONE, next(rows)), tally, rate, stopping) for pool in pools))
    for pool in pools:
        pool.close()
    return tally


async def _restart(server: ServerProcess, folder: Path) -> Restarted:
    """Kills a worker where there is nothing to serve, and asks whoever answers on the port."""
    written = len(server.lines)
    worker = psutil.Process(server.process.pid).children()[0]
    worker.send_signal(signal.SIGKILL)

    def lines() -> list[str]:
        return [line for line in server.lines[written:] if str(folder) in line]

    await asyncio.to_thread(eventually, lambda: lines() or None, f"a line of the log that names {folder}")
    refused = otherwise = 0
    for _ in range(NEWCOMERS):
        connection = await Connection.open(server.port)
        answer = await connection.call(ONE, ASKED.rows[0])
        healthy = (await connection.call(CHECK, b"")).messages() == [HEALTHY]
        is_refusal = answer.text == NO_MODEL.text
        refused += is_refusal
        otherwise += is_refusal == (healthy or answer.ok)
        connection.close()
    return Restarted(lines(), refused, otherwise)
