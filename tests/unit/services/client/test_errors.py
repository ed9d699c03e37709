from __future__ import annotations

import pickle
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.client import CallError
from services.core.errors import DOMAIN, INVALID, MAX_VIOLATIONS, STATUS_TABLE, Kind, Refusal, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VIOLATIONS = (Violation("customers.ids[3]", "must not be empty"), Violation("customers", "must hold less"))


class Refusing(scoring_pb2_grpc.ModelServiceServicer):
    """Ends every call as the test wants it."""

    end: Callable[[grpc.ServicerContext], object]

    def GetModel(  # noqa: N802 - the method's name in the proto
        self, request: scoring_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> scoring_pb2.GetModelResponse:
        self.end(context)
        raise AssertionError("the call was to be ended")


@pytest.fixture(scope="module")
def servicer() -> Refusing:
    return Refusing()


@pytest.fixture(scope="module")
def channel(servicer: Refusing) -> Iterator[grpc.Channel]:
    server = grpc.server(ThreadPoolExecutor(1))
    scoring_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as open_channel:
        yield open_channel
    server.stop(None)


def error_of(channel: grpc.Channel) -> CallError:
    with pytest.raises(grpc.RpcError) as failed:
        scoring_pb2_grpc.ModelServiceStub(channel).GetModel(scoring_pb2.GetModelRequest())
    return CallError.from_rpc(failed.value)


@pytest.mark.parametrize("kind", STATUS_TABLE, ids=lambda kind: kind.reason)
def test_every_answer_of_the_status_table_arrives_with_its_code_and_reason(
    servicer: Refusing, channel: grpc.Channel, kind: Kind
) -> None:
    servicer.end = Refusal(kind).abort
    error = error_of(channel)
    assert (error.code, error.reason, error.message) == (kind.code, kind.reason, kind.text)
    assert error.violations == {}


def test_violations_arrive_by_their_path(servicer: Refusing, channel: grpc.Channel) -> None:
    servicer.end = Refusal(INVALID, VIOLATIONS).abort
    error = error_of(channel)
    assert error.violations == {"customers.ids[3]": "must not be empty", "customers": "must hold less"}
    assert str(error).splitlines()[1:] == ["  customers.ids[3]: must not be empty", "  customers: must hold less"]


def test_as_many_violations_arrive_as_a_server_lists(servicer: Refusing, channel: grpc.Channel) -> None:
    many = [Violation(f"customers.ids[{row}]", "must not be empty") for row in range(100)]
    servicer.end = Refusal(INVALID, many).abort
    assert len(error_of(channel).violations) == MAX_VIOLATIONS


def test_an_answer_without_details_has_no_reason_and_no_violations(servicer: Refusing, channel: grpc.Channel) -> None:
    servicer.end = lambda context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")
    error = error_of(channel)
    assert (error.code, error.message, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "not yours", "")
    assert error.violations == {}
    assert str(error) == "PERMISSION_DENIED: not yours"


def test_a_server_that_is_not_there_is_unavailable_in_grpc_s_own_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    # Nobody listens there any more.
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        error = error_of(channel)
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert error.reason == ""
    assert str(port) in error.message


def test_a_status_of_a_stream_says_the_same_as_the_error_of_a_call(servicer: Refusing, channel: grpc.Channel) -> None:
    refusal = Refusal(INVALID, VIOLATIONS)
    servicer.end = refusal.abort
    assert vars(CallError.from_status(refusal.to_status())) == vars(error_of(channel))


def test_details_of_other_types_are_passed_over() -> None:
    details = [AnyMessage(), AnyMessage(), AnyMessage()]
    details[0].Pack(error_details_pb2.Help())
    details[1].Pack(error_details_pb2.ErrorInfo(reason="LATE", domain=DOMAIN))
    details[2].type_url = "type.googleapis.com/somebody.elses.Detail"
    error = CallError.from_status(status_pb2.Status(code=4, message="late", details=details))
    assert (error.code, error.reason, error.message) == (grpc.StatusCode.DEADLINE_EXCEEDED, "LATE", "late")


def test_a_code_that_this_grpc_does_not_know_is_unknown() -> None:
    assert CallError.from_status(status_pb2.Status(code=99)).code is grpc.StatusCode.UNKNOWN


def test_it_can_be_put_in_a_set_and_sent_to_another_process() -> None:
    error = CallError(grpc.StatusCode.INTERNAL, "text", "INTERNAL", {"path": "what"})
    assert len({error, error}) == 1
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
