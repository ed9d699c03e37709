"""Several server processes on one port: spawned, never forked, restarted when they die, drained together."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from services.core import logs
from services.core.stop_signal import StopSignal

if TYPE_CHECKING:
    from services.core.settings import Settings

LOOK_SECONDS = 0.2
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A worker that lived this long before it died waits no longer than the first time."""

_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    started: float
    backoff: float = FIRST_BACKOFF_SECONDS
    restart_at: float | None = None


def supervise(model: str, settings: Settings) -> None:
    """Runs `settings.workers` servers until SIGTERM or SIGINT, then drains them all."""
    logs.configure(settings.log_level)
    stop = StopSignal()
    with tempfile.TemporaryDirectory(prefix="regulars-metrics-") as metrics, _held_port(settings) as held:
        settings = replace(settings, port=held.getsockname()[1])
        registry = CollectorRegistry()
        MultiProcessCollector(registry, metrics)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        page, _ = start_http_server(settings.metrics_port, settings.host, registry=registry)
        environment = {**os.environ, **settings.to_environment(), "PROMETHEUS_MULTIPROC_DIR": metrics}
        workers: list[_Worker] = []
        try:
            workers.extend(_start(model, environment) for _ in range(settings.workers))
            fields = {"model": model, "port": settings.port, "metrics_port": page.server_port, "workers": len(workers)}
            _log.info("supervising", extra={"fields": fields})
            while not stop.wait(LOOK_SECONDS):
                for worker in workers:
                    _revive(worker, model, environment)
        finally:
            # In sessions of their own, workers would outlive a supervisor that fails.
            _drain(workers, settings)


def _held_port(settings: Settings) -> socket.socket:
    """Binds the port without listening, so that it stays ours and 0 becomes one port for all workers."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    held = socket.socket(family)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((settings.host, settings.port))
    return held


def _start(model: str, environment: dict[str, str]) -> _Worker:
    # A session of its own: the terminal's Ctrl-C reaches the supervisor alone, which drains its workers.
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "services.core", model], env=environment, start_new_session=True
    )
    return _Worker(process, started=time.monotonic())


def _revive(worker: _Worker, model: str, environment: dict[str, str]) -> None:
    if worker.process.poll() is None:
        return
    now = time.monotonic()
    if worker.restart_at is None:
        mark_process_dead(worker.process.pid, environment["PROMETHEUS_MULTIPROC_DIR"])  # type: ignore[no-untyped-call]  # the library leaves it untyped
        if now - worker.started > STEADY_SECONDS:
            worker.backoff = FIRST_BACKOFF_SECONDS
        worker.restart_at = now + worker.backoff
        fields = {"pid": worker.process.pid, "status": worker.process.returncode, "restart_in": worker.backoff}
        worker.backoff = min(worker.backoff * 2, LONGEST_BACKOFF_SECONDS)
        _log.error("a worker died", extra={"fields": fields})
    elif now >= worker.restart_at:
        fresh = _start(model, environment)
        worker.process, worker.started, worker.restart_at = fresh.process, fresh.started, None


def _drain(workers: list[_Worker], settings: Settings) -> None:
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + settings.drain_pause_seconds + settings.grace_seconds + 2
    for worker in workers:
        try:
            worker.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
