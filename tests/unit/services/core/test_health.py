from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.core.health import LIVE, NOT_SERVING, SERVING, UNKNOWN, Health
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

SERVICES = ("a.A", "b.B")
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthServer:
    def __init__(self) -> None:
        self.health = Health(SERVICES)
        # Fewer threads than Watches: a Watch holds none.
        self.server = grpc.server(ThreadPoolExecutor(1))
        self.health.register(self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub: Any = health_pb2_grpc.HealthStub(self.channel)

    def check(self, service: str) -> int:
        return int(self.stub.Check(health_pb2.HealthCheckRequest(service=service)).status)

    def watch(self, service: str) -> Any:
        return self.stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS)


@pytest.fixture
def served() -> Iterator[HealthServer]:
    server = HealthServer()
    yield server
    server.channel.close()
    server.server.stop(None).wait()


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_nothing_serves_before_it_is_announced(served: HealthServer, service: str) -> None:
    assert served.check(service) == NOT_SERVING
    served.health.announce_serving()
    assert served.check(service) == SERVING


def test_a_server_is_live_without_a_model_and_while_it_drains(served: HealthServer) -> None:
    assert served.check(LIVE) == SERVING
    served.health.announce_serving()
    served.health.drain()
    assert (served.check(LIVE), served.check("")) == (SERVING, NOT_SERVING)


def test_a_service_that_is_not_here_is_not_found(served: HealthServer) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        served.check("c.C")
    assert isinstance(failure.value, grpc.Call)
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND
    assert next(served.watch("c.C")).status == SERVICE_UNKNOWN


def test_watches_see_every_change_and_draining_is_the_last(served: HealthServer) -> None:
    watches = [served.watch(service) for service in ("", *SERVICES)]
    assert [next(watch).status for watch in watches] == [NOT_SERVING] * 3
    served.health.announce_serving()
    assert [next(watch).status for watch in watches] == [SERVING] * 3
    served.health.drain()
    assert [next(watch).status for watch in watches] == [NOT_SERVING] * 3
    served.health.announce_serving()
    assert served.check("") == NOT_SERVING
    served.health.end_watches()
    assert [list(watch) for watch in watches] == [[], [], []]
    assert [watch.code() for watch in watches] == [grpc.StatusCode.OK] * 3


def test_open_watches_hold_no_thread(served: HealthServer) -> None:
    watches = [served.watch("") for _ in range(5)]
    for watch in watches:
        assert next(watch).status == NOT_SERVING
    assert served.check("") == NOT_SERVING


def test_ended_watches_do_not_hold_the_server(served: HealthServer) -> None:
    watches = [served.watch("") for _ in range(3)]
    for watch in watches:
        next(watch)
    served.health.end_watches()
    stopped: threading.Event = served.server.stop(grace=PATIENCE_SECONDS)
    assert stopped.wait(PATIENCE_SECONDS / 2)


def test_a_watcher_that_has_gone_is_forgotten(served: HealthServer) -> None:
    watch = served.watch("")
    next(watch)
    assert len(served.health._watchers) == 1
    watch.cancel()
    eventually(lambda: not served.health._watchers, "the watcher to be forgotten")


def test_names_that_strangers_made_up_are_not_kept(served: HealthServer) -> None:
    watches = [served.watch(f"made.Up{number}") for number in range(20)]
    assert {next(watch).status for watch in watches} == {SERVICE_UNKNOWN}
    health: Any = served.health
    assert set(health._send_response_callbacks) == {UNKNOWN}
    for watch in watches:
        watch.cancel()


def test_statuses_are_not_listed(served: HealthServer) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        served.channel.unary_unary("/grpc.health.v1.Health/List", bytes, bytes)(b"")
    assert isinstance(failure.value, grpc.Call)
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
