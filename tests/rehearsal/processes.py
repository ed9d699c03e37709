"""The suite's own commands as processes, each with a log of its own; none outlives the rehearsal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from tests.support.polling import PATIENCE_SECONDS
from tests.support.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LANES = 2
"""Jobs at a time."""

DRAIN_SECONDS = 40.0
"""A server's grace and a little more."""


class JobError(Exception):
    """A command that had to work did not. Holds the command, its status and the end of its log."""


@dataclass
class Daemon:
    """A command that runs until it is ended, and may be started again."""

    words: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as lines:
            self.process = subprocess.Popen(
                _regulars(*self.words),
                cwd=REPOSITORY,
                env=_environment() | dict(self.environment),
                stdout=lines,
                stderr=lines,
                # A session of its own: Ctrl-C is for the rehearsal, which then ends them all in order.
                start_new_session=True,
            )

    def require_running(self) -> None:
        """Raises JobError if it has ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            raise JobError(f"'regulars {' '.join(self.words)}' ended by itself: {_end_of(self.log)}")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children() if self.process is not None else []

    def ask_to_end(self) -> None:
        """By SIGTERM; nothing where it does not run."""
        if self.process is not None:
            self.process.terminate()

    def end(self) -> None:
        """Returns once it has ended; whatever of it is left after its time is killed."""
        if self.process is None:
            return
        family = _family(self.process.pid)
        self.ask_to_end()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(DRAIN_SECONDS)
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait(PATIENCE_SECONDS)
        self.process = None


@contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    """Runs it until the end of the block."""
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.end()


class Jobs:
    """Commands that run to their end."""

    def __init__(self) -> None:
        self.niceness = 0
        """Of the jobs to come."""
        self._running: set[subprocess.Popen[str]] = set()
        self._over = threading.Event()

    def run(self, log: Path, *words: str, statuses: tuple[int, ...] = (0,)) -> str:
        """Runs a command and returns what it printed.

        Raises:
            JobError: it ended with another status than those, or the rehearsal is over.
        """
        if self._over.is_set():
            raise JobError("the rehearsal is over")
        with log.open("ab") as lines:
            job = subprocess.Popen(
                _regulars(*words),
                cwd=REPOSITORY,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=lines,
                text=True,
                start_new_session=True,
            )
            self._running.add(job)
            try:
                # From here: with a function to run first, Python forks, and gRPC's handlers of forks run in the child.
                os.setpriority(os.PRIO_PROCESS, job.pid, self.niceness)
                printed, _ = job.communicate()
            finally:
                # A thread that is interrupted leaves it running.
                _kill(job)
                self._running.discard(job)
            lines.write(printed.encode())
        if job.returncode not in statuses:
            raise JobError(f"'regulars {' '.join(words)}' ended with status {job.returncode}: {_end_of(log)}")
        return printed

    def together(self, *lanes: Callable[[], None]) -> None:
        """Runs functions that run jobs, so many at a time as there are cores to spare.

        Whatever ends it early, in one of them or in this thread, ends all their jobs.
        """
        with ThreadPoolExecutor(LANES) as threads:
            try:
                for done in [threads.submit(lane) for lane in lanes]:
                    done.result()
            except BaseException:
                self._end()
                raise

    def _end(self) -> None:
        self._over.set()
        for job in tuple(self._running):
            _kill(job)


def _kill(job: subprocess.Popen[str]) -> None:
    """The command and what it has started, which is in its session."""
    with suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    job.wait()


def _regulars(*words: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *words]


def _environment() -> dict[str, str]:
    """Nothing of the caller's own settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("REGULARS_", "MLFLOW_"))}
    return {**inherited, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'protos'}"}


def _family(pid: int) -> list[psutil.Process]:
    """The process and all that it has started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _end_of(log: Path) -> str:
    return f"{log}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:])
