from __future__ import annotations

import errno
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from services.core.worker_metrics import WorkerMetrics
from services.core.workers import FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, STEADY_SECONDS, Workers

if TYPE_CHECKING:
    from collections.abc import Iterator


class Process:
    """A worker that runs until the test, or the drain, ends it."""

    stdin = None

    def __init__(self, pid: int, *, obeys: bool = True) -> None:
        self.pid = pid
        self.obeys = obeys
        self.returncode: int | None = None
        self.signals: list[str] = []

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.signals.append("SIGTERM")
        if self.obeys:
            self.returncode = 0

    def kill(self) -> None:
        self.signals.append("SIGKILL")
        self.returncode = -signal.SIGKILL

    def wait(self, seconds: float | None = None) -> int:
        if self.returncode is None:
            raise subprocess.TimeoutExpired("worker", seconds or 0.0)
        return self.returncode


class Crew:
    """Two workers, by a clock of the test's own."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self.seconds = 0.0
        self.processes: list[Process] = []
        self.options: list[tuple[str, ...]] = []
        self.full = False
        self.metrics = metrics
        self.workers = Workers("churn", self._launch, metrics, 2, clock=lambda: self.seconds)
        self.workers.start()

    def _launch(self, *options: str) -> Any:
        if self.full:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self.options.append(options)
        self.processes.append(Process(len(self.processes)))
        return self.processes[-1]

    def die(self, *processes: Process) -> None:
        for process in processes:
            process.returncode = -signal.SIGKILL
        self.workers.look()

    def pause(self) -> float:
        """Seconds from now until the next start, to a quarter."""
        started = len(self.processes)
        before = self.seconds
        while len(self.processes) == started:
            self.seconds += 0.25
            self.workers.look()
        return self.seconds - before


@pytest.fixture
def crew() -> Iterator[Crew]:
    with WorkerMetrics(own=()) as metrics:
        yield Crew(metrics)


def figure(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": "churn"}) or 0.0


def test_a_worker_that_keeps_dying_waits_longer_each_time(crew: Crew) -> None:
    pauses = []
    for _ in range(8):
        crew.die(crew.processes[-1])
        pauses.append(crew.pause())
    assert pauses == [FIRST_BACKOFF_SECONDS, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS]


def test_a_worker_that_lived_long_waits_no_longer_than_the_first_time(crew: Crew) -> None:
    for _ in range(3):
        crew.die(crew.processes[-1])
        crew.pause()
    crew.seconds += STEADY_SECONDS + 1
    crew.die(crew.processes[-1])
    assert crew.pause() == FIRST_BACKOFF_SECONDS


def test_a_worker_that_lives_is_left_alone(crew: Crew) -> None:
    crew.seconds += 1000
    crew.workers.look()
    assert len(crew.processes) == 2


def test_a_worker_listens_once_loaded_if_another_is_there_to_take_the_calls(crew: Crew) -> None:
    first, second = crew.processes
    assert crew.options == [("--place", "0"), ("--place", "1")]
    crew.die(first)
    crew.pause()
    assert crew.options[2:] == [("--place", "0", "--once-loaded")]
    # Where nobody is left, somebody has to say NOT_SERVING.
    crew.die(second, crew.processes[-1])
    crew.pause()
    assert crew.options[3] == ("--place", "1")


def test_a_start_that_fails_is_tried_again_later(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    crew.full = True
    crew.die(crew.processes[0])
    for _ in range(10):
        crew.seconds += LONGEST_BACKOFF_SECONDS
        crew.workers.look()
    assert "a worker could not be started" in caplog.text
    assert len(crew.processes) == 2
    crew.full = False
    assert crew.pause() <= LONGEST_BACKOFF_SECONDS


def test_the_page_tells_how_many_run_and_how_many_have_died(crew: Crew) -> None:
    deaths = figure("regulars_worker_deaths_total")
    assert figure("regulars_workers") == 2
    crew.die(crew.processes[0])
    assert (figure("regulars_workers"), figure("regulars_worker_deaths_total")) == (1, deaths + 1)
    crew.pause()
    assert figure("regulars_workers") == 2


def test_a_drain_ends_those_who_run_and_kills_who_does_not_obey(crew: Crew) -> None:
    stuck = crew.processes[1]
    stuck.obeys = False
    # The other one is dead, and waits for its restart.
    crew.die(crew.processes[0])
    crew.workers.drain(0.0)
    assert crew.processes[0].signals == []
    assert stuck.signals == ["SIGTERM", "SIGKILL"]
    assert len(crew.processes) == 2
