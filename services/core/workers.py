"""Several server processes on one port: spawned, never forked, restarted when they die, drained together."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from services.core import logs
from services.core.child import start_child
from services.core.metrics import DEATHS, WORKERS
from services.core.server import check_files, open_metrics_page
from services.core.settings import SettingsError
from services.core.stop_signal import StopSignal
from services.core.worker_metrics import FOLDER_VARIABLE, WorkerMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.core.settings import Settings

    Launch = Callable[..., subprocess.Popen[bytes]]
    """Starts a worker with further options of `python -m services.core`."""

LOOK_SECONDS = 0.2
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 2.0
"""A worker that lived this long before it died waits no longer than the first time: it has come to serve. To leave it
out for longer would leave its calls to fewer and fewer others while something kills them one by one."""

LAST_SECONDS = 2.0
"""Beyond what a drain may take, before a worker that has not ended is killed."""

_log = logging.getLogger(__name__)


def supervise(model: str, settings: Settings) -> None:
    """Runs `settings.workers` servers until SIGTERM or SIGINT, then drains them all. A second signal changes nothing.

    Raises:
        SettingsError: the port is taken, or there is what every worker would fail with.
        OSError: the disk of the metrics is full.
    """
    logs.configure(settings.log_level)
    stop = StopSignal()
    check_files(settings)
    with WorkerMetrics(own=(WORKERS, DEATHS)) as metrics, _held_port(settings) as held:
        settings = replace(settings, port=held.getsockname()[1])
        metrics_port = open_metrics_page(settings, metrics.registry)
        environment = {**os.environ, **settings.to_environment(), FOLDER_VARIABLE: str(metrics.folder)}
        workers = Workers(model, partial(start_child, model, environment=environment), metrics, settings.workers)
        try:
            workers.start()
            fields = {"model": model, "port": settings.port, "metrics_port": metrics_port, "workers": settings.workers}
            _log.info("supervising", extra={"fields": fields})
            while not stop.wait(LOOK_SECONDS):
                workers.look()
                metrics.look()
        finally:
            workers.drain(settings.drain_pause_seconds + settings.grace_seconds + LAST_SECONDS)


def _held_port(settings: Settings) -> socket.socket:
    """Binds the port without listening, so that it stays ours and 0 becomes one port for all workers."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    held = socket.socket(family)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        held.bind((settings.host, settings.port))
    except OSError as error:
        held.close()
        raise SettingsError(
            f"REGULARS_PORT: cannot listen on port {settings.port} of {settings.host} ({error.strerror})"
        ) from error
    return held


@dataclass
class _Place:
    """Where one worker runs after another. Without a process it waits for the next start."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    backoff: float = FIRST_BACKOFF_SECONDS
    restart_at: float = 0.0


class Workers:
    """The processes, each in its place."""

    def __init__(
        self,
        model: str,
        launch: Launch,
        metrics: WorkerMetrics,
        count: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` counts seconds."""
        self._launch = launch
        self._clock = clock
        self._metrics = metrics
        self._places = [_Place(number) for number in range(count)]
        self._alive = WORKERS.labels(model)
        self._deaths = DEATHS.labels(model)

    def start(self) -> None:
        """Starts them all.

        Raises:
            OSError: the disk of the metrics is full, or the machine has no room for a process.
        """
        for place in self._places:
            self._fill(place)

    def look(self) -> None:
        """Restarts who has died, after a pause that grows with each death; never raises."""
        for place in self._places:
            if place.process is None:
                if self._clock() >= place.restart_at:
                    self._refill(place)
            elif place.process.poll() is not None:
                self._bury(place, place.process)

    def drain(self, seconds: float) -> None:
        """Ends them all, by SIGTERM and, after so many seconds, by SIGKILL."""
        processes = [place.process for place in self._places if place.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + seconds
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("a worker did not drain and is killed", extra={"fields": {"pid": process.pid}})
                process.kill()
                process.wait()

    def _fill(self, place: _Place, *options: str) -> None:
        self._metrics.prepare(place.number)
        place.process = self._launch("--place", str(place.number), *options)
        place.started = self._clock()
        self._count()

    def _refill(self, place: _Place) -> None:
        # The kernel spreads connections over whoever listens. A worker that finds nothing to load, because the folder
        # is broken now, would refuse the calls that the others can answer.
        options = ("--once-loaded",) if self._running() else ()
        try:
            self._fill(place, *options)
        except OSError as error:
            fields = {"reason": error.strerror, "restart_in": self._postpone(place)}
            _log.error("a worker could not be started", extra={"fields": fields})

    def _bury(self, place: _Place, process: subprocess.Popen[bytes]) -> None:
        place.process = None
        if process.stdin is not None:
            process.stdin.close()
        self._metrics.forget_gauges(place.number)
        if self._clock() - place.started > STEADY_SECONDS:
            place.backoff = FIRST_BACKOFF_SECONDS
        fields = {"pid": process.pid, "status": process.returncode, "restart_in": self._postpone(place)}
        _log.error("a worker died", extra={"fields": fields})
        self._deaths.inc()
        self._count()

    def _postpone(self, place: _Place) -> float:
        """Sets the time of the next start; returns the seconds until then."""
        pause = place.backoff
        place.restart_at = self._clock() + pause
        place.backoff = min(pause * 2, LONGEST_BACKOFF_SECONDS)
        return pause

    def _running(self) -> int:
        return sum(place.process is not None for place in self._places)

    def _count(self) -> None:
        self._alive.set(self._running())
