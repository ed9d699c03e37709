"""What the client does about a failure follows from what the server means by it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.client import CallError, ChurnClient
from services.client.channel import CHANNEL_OPTIONS, MAX_ATTEMPTS, SERVICE_CONFIG
from services.core.errors import STATUS_TABLE, Kind, Refusal
from services.core.server import _channel_options
from services.core.settings import Settings
from tests.support.polling import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRIED = set(SERVICE_CONFIG["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"])  # type: ignore[index]  # JSON


def test_the_client_retries_what_another_server_may_answer_and_nothing_else() -> None:
    assert {kind.code.name for kind in STATUS_TABLE if kind.code is grpc.StatusCode.UNAVAILABLE} == RETRIED
    assert all(kind.retry_after is not None for kind in STATUS_TABLE if kind.code.name in RETRIED)


def test_the_client_pings_no_faster_than_the_server_bears() -> None:
    server, client = dict(_channel_options(Settings())), dict(CHANNEL_OPTIONS)
    assert int(client["grpc.keepalive_time_ms"]) >= server["grpc.http2.min_ping_interval_without_data_ms"]


class Refusing(scoring_pb2_grpc.ModelServiceServicer):
    """Refuses every call in one way, or, when that many attempts were refused, answers."""

    def __init__(self) -> None:
        self.kind = STATUS_TABLE[0]
        self.refusals = MAX_ATTEMPTS
        self.attempts = 0

    def GetModel(  # noqa: N802 - the method's name in the proto
        self, request: scoring_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.GetModelResponse:
        self.attempts += 1
        if self.attempts <= self.refusals:
            Refusal(self.kind).abort(context)
        return scoring_pb2.GetModelResponse()


@pytest.fixture
def servicer() -> Refusing:
    return Refusing()


@pytest.fixture
def client(servicer: Refusing) -> Iterator[ChurnClient]:
    """On a port of its own: gRPC keeps its account of failing calls by address."""
    server = grpc.server(ThreadPoolExecutor(1))
    scoring_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with ChurnClient(f"127.0.0.1:{port}") as open_client:
        yield open_client
    server.stop(None).wait()


@pytest.mark.parametrize("kind", STATUS_TABLE, ids=lambda kind: kind.reason)
def test_a_refused_call_is_made_as_often_as_its_code_asks_for(
    servicer: Refusing, client: ChurnClient, kind: Kind
) -> None:
    servicer.kind = kind
    with pytest.raises(CallError) as failed:
        client.get_model(deadline=PATIENCE_SECONDS)
    assert failed.value.reason == kind.reason
    assert servicer.attempts == (MAX_ATTEMPTS if kind.code is grpc.StatusCode.UNAVAILABLE else 1)


@pytest.mark.parametrize(
    "kind", [kind for kind in STATUS_TABLE if kind.code.name in RETRIED], ids=lambda kind: kind.reason
)
def test_who_waits_for_a_server_notices_nothing(servicer: Refusing, client: ChurnClient, kind: Kind) -> None:
    servicer.kind, servicer.refusals = kind, 2
    assert client.get_model(deadline=PATIENCE_SECONDS) == scoring_pb2.GetModelResponse()
    assert servicer.attempts == 3
