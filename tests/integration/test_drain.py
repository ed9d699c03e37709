"""SIGTERM: what is inside finishes, what comes later is refused, and the process ends well within its grace."""

from __future__ import annotations

import signal
import threading
from datetime import datetime
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
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from model_registry.columns import Columns

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

QUICK = columns((10, 2, "web"))
SLOW = columns((10, SLOW_ABOVE + 500_000, "web"))
"""About a second."""

SLUGGISH = columns((10, SLOW_ABOVE + 20_000, "web"))
"""Some hundredths of a second: calls of the method that come next are handled in threads."""


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

    def __init__(self, channels: Sequence[grpc.Channel], count: int, customer: Columns = SLOW) -> None:
        """One thread a call, over the channels in turn."""
        self.answers: list[float] = []
        self.failures: list[Failure] = []
        self._customer = customer
        self._threads = [
            threading.Thread(target=self._call, args=(channels[number % len(channels)],)) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _call(self, channel: grpc.Channel) -> None:
        try:
            self.answers.append(predict(channel, self._customer).prediction.churn_probability)
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
        calls = SlowCalls([channel], 2)
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
        predict(other, SLUGGISH)
        calls = SlowCalls([channel], 1)
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


def test_two_hundred_calls_watches_and_streams_in_flight_and_nothing_is_lost(bundles: Path) -> None:
    came, at_least, running_streams = 240, 200, 4
    with (
        running(bundles, interactive_calls=came, bulk_calls=2 * running_streams) as server,
        server.channel() as channel,
        server.channel() as other,
        server.channel() as streaming,
    ):
        watches = [watch(other) for _ in range(10)]
        assert [next(open_watch).status for open_watch in watches] == [SERVING] * len(watches)
        streams = [OpenStream(streaming) for _ in range(running_streams)]
        idle = [OpenStream(streaming) for _ in range(running_streams)]
        for stream in streams + idle:
            assert stream.ask(1, table_of(QUICK)).HasField("predictions")
        for stream in streams:
            stream.send(2, table_of(SLOW))
        # Some hundredths of a second of a core each, so that they are inside until all have come; on more than two
        # connections, of which each takes a hundred.
        calls = SlowCalls([channel, other, streaming], came, SLUGGISH)
        inside = 0.0

        def all_have_come() -> bool:
            nonlocal inside
            inside = server.metric("regulars_calls_in_flight", lane="interactive")
            done = server.metric("grpc_server_handled_total", grpc_method="PredictChurn")
            tables = server.metric("grpc_server_msg_received_total", grpc_method="StreamPredictChurn")
            return inside + done >= came and tables == 3 * running_streams

        eventually(all_have_come, "everybody to come")
        assert inside >= at_least
        server.terminate()
        assert [next(open_watch).status for open_watch in watches] == [NOT_SERVING] * len(watches)
        for stream in streams:
            assert next(stream.call).sequence == 2
        for stream in streams + idle:
            failure = failure_of(lambda stream=stream: next(stream.call))  # type: ignore[misc]  # bound now
            assert (failure.code, failure.reason) == ("UNAVAILABLE", "DRAINING")
        calls.join()
        assert calls.failures == []
        assert calls.answers == [np.float32(1.0)] * came
        assert [list(open_watch) for open_watch in watches] == [[]] * len(watches)
        assert server.wait() == 0


def test_streams_on_which_nothing_moves_hold_nobody_up(bundles: Path) -> None:
    with running(bundles, bulk_calls=2) as server, server.channel() as channel:
        silent, idle = OpenStream(channel), OpenStream(channel)
        assert idle.ask(1, table_of(QUICK)).HasField("predictions")
        wait_until_in_flight(server, 2)
        server.terminate()
        for stream in (silent, idle):
            failure = failure_of(lambda stream=stream: next(stream.call))  # type: ignore[misc]  # bound now
            assert (failure.code, failure.reason) == ("UNAVAILABLE", "DRAINING")
        assert server.wait() == 0
        assert drained_in(server) < PATIENCE_SECONDS / 2


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_what_outlasts_the_grace_is_given_up_and_the_process_ends_in_time(bundles: Path, kind: str) -> None:
    grace_seconds = 0.3
    endless = columns((10, SLOW_ABOVE + 100_000_000, "web"))
    with running(bundles, grace_seconds=grace_seconds) as server, server.channel() as channel:
        stream = OpenStream(channel)
        if kind == "stream":
            stream.send(1, table_of(endless))
            wait_until_in_flight(server, 1)
        else:
            calls = SlowCalls([channel], 1, endless)
            wait_until_in_flight(server, 2)
        server.terminate()
        assert server.wait() == 0
        assert drained_in(server) < grace_seconds + 2
        if kind == "call":
            calls.join()
            assert [failure.code for failure in calls.failures] == ["UNAVAILABLE"]
        else:
            assert failure_of(lambda: next(stream.call)).code in {"UNAVAILABLE", "CANCELLED"}


def drained_in(server: ServerProcess) -> float:
    """Seconds between the signal and the end, by the server's log."""
    begun, ended = (datetime.fromisoformat(server.events(event)[0]["time"]) for event in ("draining", "stopped"))
    return (ended - begun).total_seconds()


def test_a_server_without_a_model_drains_too(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.terminate()
        assert server.wait() == 0
