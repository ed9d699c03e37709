"""SIGTERM: what is inside finishes, what comes later is refused, and the process ends well within its grace."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.bundles import SLOW_ABOVE, awkward_graph, columns, release_bundle
from tests.support.calls import Failure, OpenStream, failure_of, predict, table_of
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

QUICK = columns((10, 2, "web"))
SLOW = columns((10, SLOW_ABOVE + 500_000, "web"))
"""About a second."""


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    release_bundle(tmp_path, "1", model=awkward_graph())
    return tmp_path


def watch(channel: grpc.Channel) -> Iterator[health_pb2.HealthCheckResponse]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answers: Iterator[health_pb2.HealthCheckResponse] = stub.Watch(
        health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS
    )
    return answers


class SlowCalls:
    """Calls in threads of their own, and how each ended."""

    def __init__(self, channel: grpc.Channel, count: int) -> None:
        self.answers: list[float] = []
        self.failures: list[Failure] = []
        self._channel = channel
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        try:
            self.answers.append(predict(self._channel, SLOW).prediction.churn_probability)
        except grpc.RpcError as error:
            self.failures.append(Failure(error))

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def wait_until_in_flight(server: ServerProcess, calls: int) -> None:
    eventually(lambda: server.metric("regulars_calls_in_flight") == calls, f"{calls} calls in flight")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_in_flight_finish_watches_end_and_the_process_exits_with_0(bundles: Path, number: int) -> None:
    with running(bundles) as server, server.channel() as channel, server.channel() as other:
        watches = [watch(other) for _ in range(3)]
        assert [next(open_watch).status for open_watch in watches] == [SERVING] * 3
        stream = OpenStream(channel)
        assert stream.ask(1, table_of(QUICK)).HasField("predictions")
        calls = SlowCalls(channel, 2)
        stream.send(2, table_of(SLOW))
        wait_until_in_flight(server, 3)
        server.process.send_signal(number)
        assert [next(open_watch).status for open_watch in watches] == [NOT_SERVING] * 3
        assert [list(open_watch) for open_watch in watches] == [[], [], []]
        # The table in flight is answered; the next is for another server.
        assert next(stream.call).sequence == 2
        assert failure_of(lambda: stream.ask(3, table_of(QUICK))).code == "UNAVAILABLE"
        calls.join()
        assert calls.failures == []
        assert calls.answers == [np.float32(1.0)] * 2
        assert server.wait() == 0
        assert [event["event"] for event in server.events("draining") + server.events("stopped")] == [
            "draining",
            "stopped",
        ]
        assert failure_of(lambda: predict(channel, QUICK)).code == "UNAVAILABLE"


def test_calls_that_come_while_it_drains_are_unavailable(bundles: Path) -> None:
    with running(bundles) as server, server.channel() as channel, server.channel() as other:
        predict(other, QUICK)
        calls = SlowCalls(channel, 1)
        wait_until_in_flight(server, 1)
        server.terminate()
        server.wait_for("draining")
        # By the server's own answer, or by the end of its listening.
        eventually(lambda: refused(other), "the first refusal")
        assert calls.answers == []
        calls.join()
        assert calls.failures == []
        assert server.wait() == 0


def refused(channel: grpc.Channel) -> bool:
    try:
        predict(channel, QUICK)
    except grpc.RpcError as error:
        failure = Failure(error)
    else:
        return False
    assert failure.code == "UNAVAILABLE"
    return True


def test_during_the_pause_it_says_not_serving_and_still_serves(bundles: Path) -> None:
    with running(bundles, drain_pause_seconds=1.0) as server, server.channel() as channel:
        open_watch = watch(channel)
        assert next(open_watch).status == SERVING
        server.terminate()
        assert next(open_watch).status == NOT_SERVING
        # Endpoints that have not learnt of it yet may still send.
        assert predict(channel, QUICK).model_version.version == "1"
        assert server.wait() == 0


def test_a_stream_that_never_ends_is_cut_off_at_the_end_of_the_grace(bundles: Path) -> None:
    with running(bundles, grace_seconds=0.3) as server, server.channel() as channel:
        stream = OpenStream(channel)
        assert stream.ask(1, table_of(QUICK)).HasField("predictions")
        server.terminate()
        assert server.wait() == 0
        failure = failure_of(lambda: next(stream.call))
        assert failure.code in {"UNAVAILABLE", "CANCELLED"}, failure.code


def test_a_server_without_a_model_drains_too(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.terminate()
        assert server.wait() == 0
