"""What the client does about a failure follows from what the server means by it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.client import CallError, ChurnClient
from services.client.channel import MAX_ATTEMPTS, RETRY_POLICY, channel_options
from services.core.errors import DRAINING, STATUS_TABLE, Kind, Refusal
from services.core.server import _channel_options
from services.core.settings import Settings
from services.methods import methods_of
from tests.support.polling import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

CROWD = 64
"""Calls in flight."""

RETRIED = set(RETRY_POLICY["retryableStatusCodes"])  # type: ignore[call-overload]  # JSON


BY_GRPC = {"CANCELLED"}
"""How gRPC itself ends calls that reach a server as it stops. The servers say it to nobody who still listens."""


def test_the_client_retries_what_the_table_says_may_be_tried_again_and_nothing_else() -> None:
    assert {kind.code.name for kind in STATUS_TABLE if kind.retry_after is not None} == RETRIED - BY_GRPC
    assert all(kind.retry_after is not None for kind in STATUS_TABLE if kind.code.name in RETRIED - BY_GRPC)


def test_the_client_pings_no_faster_than_the_server_bears() -> None:
    stream = methods_of("regulars.churn.v1.ChurnService").stream
    server, client = dict(_channel_options(Settings())), dict(channel_options(stream))
    assert int(client["grpc.keepalive_time_ms"]) >= server["grpc.http2.min_ping_interval_without_data_ms"]


class Refusing(scoring_pb2_grpc.ModelServiceServicer, churn_pb2_grpc.ChurnServiceServicer):
    """Refuses every call in one way, or, when that many attempts were refused, answers."""

    def __init__(self) -> None:
        self.kind = STATUS_TABLE[0]
        self.refusals = MAX_ATTEMPTS
        self.attempts = 0
        self.customers: list[str] = []
        self.by_grpc = False

    def GetModel(  # noqa: N802 - the method's name in the proto
        self, request: scoring_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.GetModelResponse:
        self._attempt(context)
        return scoring_pb2.GetModelResponse()

    def BatchPredictChurn(  # noqa: N802 - the method's name in the proto
        self, request: churn_pb2.BatchPredictChurnRequest, context: grpc.ServicerContext
    ) -> churn_pb2.BatchPredictChurnResponse:
        self._attempt(context)
        self.customers = list(request.customers.ids)
        return churn_pb2.BatchPredictChurnResponse()

    def StreamPredictChurn(  # noqa: N802 - the method's name in the proto
        self, request_iterator: Iterator[churn_pb2.StreamPredictChurnRequest], context: grpc.ServicerContext
    ) -> Iterator[churn_pb2.StreamPredictChurnResponse]:
        self._attempt(context)
        for request in request_iterator:
            yield churn_pb2.StreamPredictChurnResponse(sequence=request.sequence)

    def _attempt(self, context: grpc.ServicerContext) -> None:
        self.attempts += 1
        self.by_grpc |= "grpc-previous-rpc-attempts" in dict(context.invocation_metadata() or ())
        if self.attempts <= self.refusals:
            Refusal(self.kind).abort(context)


@pytest.fixture
def servicer() -> Refusing:
    return Refusing()  # type: ignore[abstract]  # its other methods are UNIMPLEMENTED


@pytest.fixture
def client(servicer: Refusing) -> Iterator[ChurnClient]:
    """On a port of its own: gRPC keeps its account of failing calls by address."""
    server = grpc.server(ThreadPoolExecutor(1))
    scoring_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    churn_pb2_grpc.add_ChurnServiceServicer_to_server(servicer, server)
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
    assert servicer.attempts == (MAX_ATTEMPTS if kind.code.name in RETRIED else 1)


@pytest.mark.parametrize(
    "kind", [kind for kind in STATUS_TABLE if kind.code.name in RETRIED], ids=lambda kind: kind.reason
)
def test_who_waits_for_a_server_notices_nothing(servicer: Refusing, client: ChurnClient, kind: Kind) -> None:
    servicer.kind, servicer.refusals = kind, 2
    assert client.get_model(deadline=PATIENCE_SECONDS) == scoring_pb2.GetModelResponse()
    assert servicer.attempts == 3


def test_a_table_is_sent_again_too(servicer: Refusing, client: ChurnClient) -> None:
    servicer.kind, servicer.refusals = DRAINING, 1
    table = scoring_pb2.CustomerTable(ids=[f"customer {number:0100}" for number in range(30_000)])
    assert 3_000_000 < table.ByteSize() < Settings().max_message_bytes
    client.batch_predict(table, deadline=PATIENCE_SECONDS)
    assert servicer.customers == table.ids
    assert servicer.attempts == 2


def test_everybody_whom_one_dead_server_takes_along_is_served_by_another(
    servicer: Refusing, client: ChurnClient
) -> None:
    servicer.kind, servicer.refusals = DRAINING, CROWD
    with ThreadPoolExecutor(CROWD) as callers:
        answers = list(callers.map(lambda _: client.get_model(deadline=PATIENCE_SECONDS), range(CROWD)))
    assert answers == [scoring_pb2.GetModelResponse()] * CROWD


def test_a_stream_is_mended_by_the_client_and_not_by_grpc(servicer: Refusing, client: ChurnClient) -> None:
    servicer.kind, servicer.refusals = DRAINING, 1
    tables = [scoring_pb2.CustomerTable()] * 3
    assert [answer.sequence for answer in client.stream_predict(tables)] == [0, 1, 2]
    assert servicer.attempts == 2
    assert not servicer.by_grpc
