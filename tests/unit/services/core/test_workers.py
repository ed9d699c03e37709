from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from services.core import workers
from services.core.workers import FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, STEADY_SECONDS, _revive, _Worker
from tests.support.bundles import probability, release_bundle
from tests.support.polling import eventually
from tests.support.server import SUPERVISOR, ServerProcess, running

if TYPE_CHECKING:
    from pathlib import Path

METHOD = {"grpc_method": "PredictChurn", "grpc_code": "OK"}


def predict(server: ServerProcess) -> float:
    """Over a connection of its own, which the kernel hands to one of the workers."""
    with server.channel() as channel:
        request = churn_pb2.PredictChurnRequest()
        request.customer.id = "a"
        request.customer.numeric["recency_days"] = 10
        return (
            churn_pb2_grpc.ChurnServiceStub(channel)
            .PredictChurn(request, wait_for_ready=True)
            .prediction.churn_probability
        )


def children(server: ServerProcess) -> dict[int, psutil.Process]:
    return {child.pid: child for child in psutil.Process(server.process.pid).children()}


def test_two_workers_share_a_port_and_a_metrics_page_and_a_killed_one_comes_back(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    with running(tmp_path, command=SUPERVISOR, workers=2) as server:
        server.wait_for("listening", 2)
        before = children(server)
        assert len(before) == 2
        calls = 0

        def both_have_answered() -> bool:
            nonlocal calls
            assert predict(server) == pytest.approx(probability(10, 0, ""))
            calls += 1
            return len(files_with_calls()) == 2

        def files_with_calls() -> list[int]:
            folder = environment_of(next(iter(before)))["PROMETHEUS_MULTIPROC_DIR"]
            return [pid for pid in before if has_calls(f"{folder}/counter_{pid}.db")]

        eventually(both_have_answered, "answers of both workers")
        # The page adds them up.
        assert server.metric("grpc_server_handled_total", **METHOD) == calls
        assert server.metric("regulars_rows_total", status="ok") == calls
        assert server.metric("grpc_server_handling_seconds_count", grpc_method="PredictChurn") == calls
        assert server.metric("regulars_model_info", version="1") == 1
        assert server.metric("regulars_calls_in_flight", lane="interactive") == 0

        killed = next(iter(before))
        os.kill(killed, signal.SIGKILL)
        server.wait_for("listening", 3)
        after = children(server)
        assert len(after) == 2
        assert killed not in after
        (death,) = server.events("a worker died")
        assert (death["pid"], death["status"]) == (killed, -signal.SIGKILL)
        # What the dead one counted stays counted.
        assert server.metric("grpc_server_handled_total", **METHOD) == calls
        assert predict(server) == pytest.approx(probability(10, 0, ""))
        assert server.metric("grpc_server_handled_total", **METHOD) == calls + 1

        release_bundle(tmp_path, "2", weight=0.02)
        server.wait_for("serving", 5)
        assert predict(server) == pytest.approx(probability(10, 0, "", weight=0.02))
        assert server.metric("regulars_model_info", version="2") == 1
        assert server.metric("regulars_model_info", version="1") == 0

        server.terminate()
        assert server.wait() == 0
        assert len(server.events("stopped")) == 2
        assert not any(worker.is_running() for worker in after.values())
        assert strays(server) == []


def environment_of(pid: int) -> dict[str, str]:
    return psutil.Process(pid).environ()


def has_calls(path: str) -> bool:
    """Whether a worker's file of counters holds a call that ended; its form is prometheus_client's own."""
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 - a private form, named where it is needed

    return any(
        "grpc_server_handled_total" in key and value > 0
        for key, value, *_ in MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]  # untyped
    )


def strays(server: ServerProcess) -> list[str]:
    """Lines of the log that are no log: a traceback, a warning of a library."""
    return [line for line in server.lines if not re.fullmatch(r"\{.*\}\n", line)]


def ended() -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


def backoffs(worker: _Worker, deaths: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a worker that keeps dying waits before each start."""
    monkeypatch.setattr(workers, "_start", lambda model, environment: _Worker(ended(), time.monotonic()))
    waits = []
    for _ in range(deaths):
        before = time.monotonic()
        _revive(worker, "churn", {"PROMETHEUS_MULTIPROC_DIR": str(folder)})
        assert worker.restart_at is not None
        waits.append(round(worker.restart_at - before, 1))
        worker.restart_at = before
        _revive(worker, "churn", {"PROMETHEUS_MULTIPROC_DIR": str(folder)})
        assert worker.restart_at is None
    return waits


def test_a_worker_that_keeps_dying_waits_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = _Worker(ended(), started=time.monotonic())
    with caplog.at_level(logging.CRITICAL):
        assert backoffs(worker, 8, tmp_path, monkeypatch) == [
            FIRST_BACKOFF_SECONDS,
            1.0,
            2.0,
            4.0,
            8.0,
            16.0,
            LONGEST_BACKOFF_SECONDS,
            LONGEST_BACKOFF_SECONDS,
        ]


def test_a_worker_that_lived_long_waits_no_longer_than_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = _Worker(ended(), started=time.monotonic() - STEADY_SECONDS - 1, backoff=LONGEST_BACKOFF_SECONDS)
    assert backoffs(worker, 2, tmp_path, monkeypatch) == [FIRST_BACKOFF_SECONDS, 2 * FIRST_BACKOFF_SECONDS]


def test_a_worker_that_lives_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        worker = _Worker(process, started=time.monotonic())
        _revive(worker, "churn", {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
        assert worker.process is process
        assert worker.restart_at is None
        process.communicate(b"\n")
