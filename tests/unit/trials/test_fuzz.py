from __future__ import annotations

from random import Random

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.core.errors import INVALID, Refusal
from tests.trials.fuzz import _honest_session, _kinds, find_fault, make_case, make_garbage
from tests.trials.http2 import Answer, framed

KINDS = _kinds("churn")
STREAM = KINDS["/regulars.churn.v1.ChurnService/StreamPredictChurn"]
OK = grpc.StatusCode.OK


def answer(code: grpc.StatusCode, text: str = "", details: bytes = b"", body: bytes = b"") -> Answer:
    return Answer(code, text, {"grpc-status-details-bin": details}, body, 0.001)


def table_refused(error: status_pb2.Status) -> bytes:
    assert STREAM.response is not None
    return framed(STREAM.response(error=error).SerializeToString())


@pytest.mark.parametrize("number", range(50))
def test_a_case_is_made_again_from_its_seed_and_number(number: int) -> None:
    seed = f"1 churn {number}"
    assert make_case(KINDS, Random(seed)) == make_case(KINDS, Random(seed))
    session = _honest_session("churn")
    assert make_garbage(session, Random(seed)) == make_garbage(session, Random(seed))


def test_cases_are_of_many_sorts() -> None:
    cases = {make_case(KINDS, Random(number)) for number in range(500)}
    assert len(cases) > 450
    assert {case.path for case in cases} > set(KINDS)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (answer(grpc.StatusCode.UNKNOWN, "Exception calling application: 'customer'"), "code"),
        (answer(grpc.StatusCode.INTERNAL, "Exception deserializing request!"), "text"),
        (answer(grpc.StatusCode.INTERNAL, details=b'File "codec.py", line 3'), "leak"),
        (answer(grpc.StatusCode.DEADLINE_EXCEEDED), "lost"),
        (answer(OK, body=framed(b"\xff\xff")), "code"),
        (answer(OK, body=table_refused(status_pb2.Status(code=2))), "text"),
        (answer(OK, body=table_refused(status_pb2.Status(code=3, message="KeyError: 'c1'"))), "text"),
    ],
)
def test_a_wrong_answer_is_found(wrong: Answer, kind: str) -> None:
    found = find_fault(wrong, STREAM)
    assert found is not None
    assert found.partition(":")[0] == kind


def test_an_exception_in_the_details_of_a_table_is_found() -> None:
    status = Refusal(INVALID).to_status()
    assert find_fault(answer(OK, body=table_refused(status)), STREAM) is None
    status.details.add().Pack(error_details_pb2.DebugInfo(detail="ValueError"))
    assert find_fault(answer(OK, body=table_refused(status)), STREAM) is not None


@pytest.mark.parametrize(
    "right",
    [
        answer(OK),
        answer(INVALID.code, INVALID.text, Refusal(INVALID).to_status().SerializeToString()),
        answer(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
        answer(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (5 vs. 4)"),
    ],
)
def test_a_right_answer_is_none(right: Answer) -> None:
    assert find_fault(right, None) is None
