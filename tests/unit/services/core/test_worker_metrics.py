from __future__ import annotations

import logging
import resource
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.values import MultiProcessValue

from services.core.worker_metrics import FILES, FOLDER_VARIABLE, RESERVED_BYTES, WorkerMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESTARTS = 2000


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerMetrics]:
    with WorkerMetrics(own=()) as made:
        monkeypatch.setenv(FOLDER_VARIABLE, str(made.folder))
        yield made


def live_and_die(place: int) -> None:
    """What a worker does that answers one call, and dies with another in flight."""
    value = MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    value("counter", "calls_total", "calls_total", (), (), "Calls.").inc(1)
    value("gauge", "in_flight", "in_flight", (), (), "Calls in flight.", multiprocess_mode="livesum").inc(1)
    value.close_all_files()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_restarts_leave_as_many_files_as_there_are_workers_and_every_count(metrics: WorkerMetrics) -> None:
    for place in (0, 1):
        metrics.prepare(place)
    files = names(metrics.folder)
    assert len(files) == 2 * len(FILES)
    live_and_die(1)
    for _ in range(RESTARTS):
        live_and_die(0)
        metrics.forget_gauges(0)
        metrics.prepare(0)
    assert names(metrics.folder) == files
    assert all(path.stat().st_size == RESERVED_BYTES for path in metrics.folder.iterdir())
    assert metrics.registry.get_sample_value("calls_total") == RESTARTS + 1
    # Of those who live.
    assert metrics.registry.get_sample_value("in_flight") == 1


def test_what_is_counted_here_stands_on_the_page_beside(metrics: WorkerMetrics) -> None:
    workers = Gauge("workers", "Workers.", registry=CollectorRegistry())
    workers.set(2)
    with WorkerMetrics(own=(workers,)) as other:
        assert other.registry.get_sample_value("workers") == 2


def test_the_folder_goes_with_the_context() -> None:
    with WorkerMetrics(own=()) as metrics:
        metrics.prepare(0)
    assert not metrics.folder.exists()


def test_a_folder_that_was_deleted_is_told_of_once_and_made_for_the_next_worker(
    metrics: WorkerMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    metrics.prepare(0)
    with caplog.at_level(logging.ERROR):
        metrics.look()
        assert caplog.records == []
        shutil.rmtree(metrics.folder)
        for _ in range(3):
            metrics.look()
        metrics.forget_gauges(0)
        metrics.prepare(0)
    (record,) = caplog.records
    assert "deleted" in record.getMessage()
    live_and_die(0)
    assert metrics.registry.get_sample_value("calls_total") == 1


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to whoever writes: an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_place_that_there_is_no_room_for_is_an_error_with_its_remedy(metrics: WorkerMetrics) -> None:
    with files_no_larger_than(1000), pytest.raises(OSError, match=r"cannot be kept in .*; make 1.25 MB of room"):
        metrics.prepare(0)
    metrics.prepare(0)
    assert (metrics.folder / "counter_0.db").stat().st_size == RESERVED_BYTES
