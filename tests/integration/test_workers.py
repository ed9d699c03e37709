"""Several processes on one port: they answer as one, they come back, and none of them is left behind."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.mmap_dict import MmapedDict

from model_registry.bundle import Golden, read_bundle, write_bundle
from services.core.worker_metrics import RESERVED_BYTES
from tests.support.bundles import (
    SLOW_ABOVE,
    awkward_graph,
    columns,
    manifest,
    probability,
    release_bundle,
    release_draft,
)
from tests.support.calls import predict
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import SUPERVISOR, ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD = {"grpc_method": "PredictChurn", "grpc_code": "OK"}
ONE = columns((10, 0, ""))
SLOW = columns((10, SLOW_ABOVE + 500_000, "web"))
"""About a second."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    release_bundle(tmp_path, "1", model=awkward_graph())
    with running(tmp_path, command=SUPERVISOR, workers=2) as supervised:
        supervised.wait_for("listening", 2)
        yield supervised


def score(server: ServerProcess) -> float:
    """Over a connection of its own, which the kernel hands to one of the workers."""
    with server.channel() as channel:
        return predict(channel, ONE).prediction.churn_probability


def children(server: ServerProcess) -> dict[int, psutil.Process]:
    return {child.pid: child for child in psutil.Process(server.process.pid).children()}


def folder_of(worker: psutil.Process) -> Path:
    return Path(worker.environ()["PROMETHEUS_MULTIPROC_DIR"])


def has_calls(path: Path) -> bool:
    """Whether a worker's file of counters holds a call that ended; its form is prometheus_client's own."""
    return any(
        "grpc_server_handled_total" in key and value > 0
        for key, value, *_ in MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]  # untyped
    )


def strays(server: ServerProcess) -> list[str]:
    """Lines of the log that are no log: a traceback, a warning of a library."""
    return [line for line in server.lines if not re.fullmatch(r"\{.*\}\n", line)]


def kill_one(server: ServerProcess) -> int:
    killed = next(iter(children(server)))
    os.kill(killed, signal.SIGKILL)
    return killed


def test_they_share_a_port_and_a_page_and_one_that_is_killed_comes_back(server: ServerProcess, tmp_path: Path) -> None:
    before = children(server)
    assert len(before) == 2
    folder = folder_of(next(iter(before.values())))
    files = set(folder.iterdir())
    calls = 0

    def both_have_answered() -> bool:
        nonlocal calls
        assert score(server) == pytest.approx(probability(10, 0, ""))
        calls += 1
        return all(has_calls(folder / f"counter_{place}.db") for place in (0, 1))

    eventually(both_have_answered, "answers of both workers")
    # The page adds them up.
    assert server.metric("grpc_server_handled_total", **METHOD) == calls
    assert server.metric("regulars_rows_total", status="ok") == calls
    assert server.metric("grpc_server_handling_seconds_count", grpc_method="PredictChurn") == calls
    assert server.metric("regulars_model_info", version="1") == 1
    assert server.metric("regulars_calls_in_flight", lane="interactive") == 0
    assert (server.metric("regulars_workers"), server.metric("regulars_worker_deaths_total")) == (2, 0)

    killed = kill_one(server)
    server.wait_for("listening", 3)
    after = children(server)
    assert len(after) == 2
    assert killed not in after
    (death,) = server.events("a worker died")
    assert (death["pid"], death["status"]) == (killed, -signal.SIGKILL)
    assert (server.metric("regulars_workers"), server.metric("regulars_worker_deaths_total")) == (2, 1)
    # What the dead one counted stays counted, in the file that its successor counts on in.
    assert server.metric("grpc_server_handled_total", **METHOD) == calls
    assert score(server) == pytest.approx(probability(10, 0, ""))
    assert server.metric("grpc_server_handled_total", **METHOD) == calls + 1
    assert set(folder.iterdir()) == files
    # What is reserved is enough.
    assert all(path.stat().st_size == RESERVED_BYTES for path in files)

    release_bundle(tmp_path, "2", weight=0.02)
    server.wait_for("serving", 5)
    assert score(server) == pytest.approx(probability(10, 0, "", weight=0.02))
    assert server.metric("regulars_model_info", version="2") == 1
    assert server.metric("regulars_model_info", version="1") == 0

    server.terminate()
    assert server.wait() == 0
    assert len(server.events("stopped")) == 2
    assert not any(worker.is_running() for worker in after.values())
    assert strays(server) == []


class SlowCall:
    """A call that takes about a second, in a thread of its own."""

    def __init__(self, server: ServerProcess) -> None:
        self.answers: list[float] = []
        self._channel = server.channel()
        self._thread = threading.Thread(target=self._call)
        self._thread.start()
        eventually(lambda: server.metric("regulars_calls_in_flight") == 1, "a call in flight")

    def _call(self) -> None:
        self.answers.append(predict(self._channel, SLOW).prediction.churn_probability)

    def end(self) -> list[float]:
        self._thread.join(PATIENCE_SECONDS)
        self._channel.close()
        return self.answers


def test_a_supervisor_that_is_killed_takes_its_workers_along_and_they_drain(server: ServerProcess) -> None:
    workers = children(server)
    call = SlowCall(server)
    server.process.kill()
    assert server.process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    eventually(lambda: not any(worker.is_running() for worker in workers.values()), "the end of the workers")
    assert call.end() == [1.0]
    assert len(server.events("draining")) == len(server.events("stopped")) == 2


def test_a_second_signal_does_not_shorten_the_drain(server: ServerProcess) -> None:
    call = SlowCall(server)
    server.terminate()
    server.wait_for("draining", 2)
    server.terminate()
    for worker in children(server):
        os.kill(worker, signal.SIGTERM)
    assert call.end() == [1.0]
    assert server.wait() == 0
    assert strays(server) == []


def test_a_signal_between_a_death_and_the_restart_ends_everything(server: ServerProcess) -> None:
    kill_one(server)
    server.wait_for("a worker died")
    server.terminate()
    assert server.wait() == 0
    assert len(server.events("stopped")) == 1
    assert strays(server) == []


def test_a_worker_with_nothing_to_load_takes_no_calls_while_another_can(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "churn").rename(tmp_path / "away")
    kill_one(server)
    server.wait_for("nothing to serve yet, following the folder")
    for _ in range(30):
        assert score(server) == pytest.approx(probability(10, 0, ""))
    assert len(server.events("listening")) == 2
    assert len(children(server)) == 2

    (tmp_path / "away").rename(tmp_path / "churn")
    server.wait_for("listening", 3)
    # One that waits ends at once, too.
    (tmp_path / "churn").rename(tmp_path / "away")
    kill_one(server)
    server.wait_for("nothing to serve yet, following the folder", 2)
    server.terminate()
    assert server.wait() == 0
    assert strays(server) == []


def test_all_of_them_listen_though_nothing_was_ever_released(tmp_path: Path) -> None:
    with running(tmp_path, command=SUPERVISOR, workers=2) as server:
        server.wait_for("listening", 2)
        for _ in range(10):
            with server.channel() as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
                assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_signal_while_the_loading_hangs_ends_the_workers(tmp_path: Path) -> None:
    # The release is refused after some seconds of replaying; meanwhile nobody listens.
    rows = Golden(columns((10.0, SLOW_ABOVE + 10**9, "web")), {"churn_probability": np.ones(1, np.float32)})
    draft = tmp_path / "churn" / ".draft"
    write_bundle(draft, manifest(), awkward_graph().SerializeToString(), rows)
    release_draft(tmp_path, "1", draft, read_bundle(draft))
    with running(tmp_path, command=SUPERVISOR, workers=2) as server:
        server.wait_for("loading", 2)
        server.terminate()
        assert server.wait() == 0
        assert server.events("listening") == server.events("release refused") == []
        assert server.events("a worker did not drain and is killed") == []
        assert len(server.events("stopped")) == 2
        assert strays(server) == []
