from __future__ import annotations

import logging
import math
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.core import errors
from services.core.errors import (
    BY_GRPC,
    CANCELLED,
    EXPIRED,
    INTERNAL,
    INVALID,
    MAX_RESOURCE_NAME,
    MAX_VIOLATIONS,
    SATURATED,
    STATUS_TABLE,
    UNKNOWN_MODEL,
    Kind,
    Refusal,
    Resource,
    Violation,
    as_refusal,
    check_alive,
    gone,
    reference,
)


class FakeContext:
    """The part of a call's context that errors touch."""

    def __init__(self, *, active: bool = True, remaining: float | None = None, attempts: str | None = None) -> None:
        self._metadata = () if attempts is None else (("grpc-previous-rpc-attempts", attempts),)
        self._active = active
        self._remaining = remaining
        self.trailers: dict[str, Any] = {}
        self.ended: tuple[grpc.StatusCode, str] | None = None

    def is_active(self) -> bool:
        return self._active

    def time_remaining(self) -> float | None:
        return self._remaining

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self.trailers = dict(trailing_metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> Any:
        self.ended = (code, details)
        raise RuntimeError("aborted")


def as_context(fake: FakeContext) -> grpc.ServicerContext:
    return cast("grpc.ServicerContext", fake)


def details_of(refusal: Refusal) -> list[str]:
    return [detail.TypeName() for detail in refusal.to_status().details]


def unpack(refusal: Refusal, message: Any) -> Any:
    for detail in refusal.to_status().details:
        if detail.Unpack(message):
            return message
    return None


def test_the_table_holds_every_kind_once() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, Kind)]
    assert sorted(kind.reason for kind in kinds) == sorted(kind.reason for kind in STATUS_TABLE)
    assert len({kind.reason for kind in STATUS_TABLE}) == len(STATUS_TABLE)
    assert len({kind.text for kind in STATUS_TABLE}) == len(STATUS_TABLE)


def test_the_codes_are_those_of_the_design() -> None:
    assert {kind.reason: kind.code.name for kind in STATUS_TABLE} == {
        "MALFORMED_MESSAGE": "INTERNAL",
        "INVALID_CUSTOMERS": "INVALID_ARGUMENT",
        "UNAUTHENTICATED": "UNAUTHENTICATED",
        "FORBIDDEN": "PERMISSION_DENIED",
        "UNKNOWN_MODEL": "NOT_FOUND",
        "NO_MODEL_LOADED": "UNAVAILABLE",
        "DRAINING": "UNAVAILABLE",
        "STREAM_IDLE": "UNAVAILABLE",
        "SATURATED": "RESOURCE_EXHAUSTED",
        "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
        "CANCELLED": "CANCELLED",
        "INTERNAL": "INTERNAL",
    }


@pytest.mark.parametrize("kind", STATUS_TABLE, ids=lambda kind: kind.reason)
def test_every_answer_has_at_most_one_detail_of_each_type_and_says_why(kind: Kind) -> None:
    refusal = Refusal(kind, [Violation("a", "b")] * 3)
    assert len(set(details_of(refusal))) == len(details_of(refusal))
    info = unpack(refusal, error_details_pb2.ErrorInfo())
    assert info.reason == kind.reason
    assert info.domain == "regulars"
    status = refusal.to_status()
    assert (status.code, status.message) == (kind.code.value[0], kind.text)


@pytest.mark.parametrize("kind", STATUS_TABLE, ids=lambda kind: kind.reason)
def test_who_may_try_again_is_told_when(kind: Kind) -> None:
    retry = unpack(Refusal(kind), error_details_pb2.RetryInfo())
    assert (retry is not None) == (kind.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
    if retry is not None:
        assert retry.retry_delay.ToTimedelta().total_seconds() == kind.retry_after


def test_violations_are_listed_to_the_limit_and_counted_beyond_it() -> None:
    for count in (1, MAX_VIOLATIONS, MAX_VIOLATIONS + 1, 1000):
        refusal = Refusal(INVALID, [Violation(f"field[{at}]", "is wrong") for at in range(count)])
        listed = unpack(refusal, error_details_pb2.BadRequest()).field_violations
        assert [violation.field for violation in listed] == [f"field[{at}]" for at in range(min(count, MAX_VIOLATIONS))]
        assert unpack(refusal, error_details_pb2.ErrorInfo()).metadata["violations"] == str(count)


def test_what_is_not_there_is_named_in_brief() -> None:
    for name in ("chrn", "c" * 1000):
        refusal = Refusal(UNKNOWN_MODEL, resource=Resource("model", name))
        resource = unpack(refusal, error_details_pb2.ResourceInfo())
        assert (resource.resource_type, resource.resource_name) == ("model", name[:MAX_RESOURCE_NAME])


@pytest.mark.parametrize("kind", STATUS_TABLE, ids=lambda kind: kind.reason)
def test_an_aborted_call_ends_with_the_code_the_constant_text_and_the_details(kind: Kind) -> None:
    context = FakeContext()
    refusal = Refusal(kind)
    with pytest.raises(RuntimeError, match="aborted"):
        refusal.abort(as_context(context))
    assert context.ended == (kind.code, kind.text)
    assert status_pb2.Status.FromString(context.trailers["grpc-status-details-bin"]) == refusal.to_status()
    assert ("grpc-retry-pushback-ms" in context.trailers) == (kind is SATURATED)


@pytest.mark.parametrize(
    ("attempts", "pushback"),
    [(None, 250), ("1", 250), ("2", 400), ("4", 1600), ("0", 250), ("5", 250), ("-1", 250), ("9" * 1000, 250)],
)
def test_who_is_refused_again_waits_longer_each_time(attempts: str | None, pushback: int) -> None:
    context = FakeContext(attempts=attempts)
    with pytest.raises(RuntimeError, match="aborted"):
        Refusal(SATURATED, retry_after=0.25).abort(as_context(context))
    assert context.trailers["grpc-retry-pushback-ms"] == str(pushback)
    retry = error_details_pb2.RetryInfo()
    details = status_pb2.Status.FromString(context.trailers["grpc-status-details-bin"]).details
    assert any(detail.Unpack(retry) for detail in details)
    # In whole tenths.
    assert retry.retry_delay.ToTimedelta().total_seconds() == pytest.approx(math.ceil(pushback / 100) / 10)


@given(now=st.floats(0, 1e7))
def test_a_tenth_of_a_second_is_one_at_every_reading_of_the_clock(now: float) -> None:
    context = FakeContext()
    with pytest.raises(RuntimeError, match="aborted"):
        Refusal(SATURATED, retry_after=now + 0.1 - now).abort(as_context(context))
    assert (
        context.trailers["grpc-status-details-bin"]
        == Refusal(SATURATED, retry_after=0.1).to_status().SerializeToString()
    )


def test_an_exception_becomes_internal_and_its_text_reaches_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        refusal = as_refusal(ValueError("the customer's secret"))
    assert refusal.kind is INTERNAL
    assert b"secret" not in refusal.to_status().SerializeToString()
    assert [record.getMessage() for record in caplog.records] == ["a call failed"]


def test_an_answer_stays_the_answer_it_is(caplog: pytest.LogCaptureFixture) -> None:
    refusal = Refusal(INVALID)
    assert as_refusal(refusal) is refusal
    assert caplog.records == []


@pytest.mark.parametrize(
    ("context", "kind"),
    [
        (FakeContext(active=True), None),
        (FakeContext(active=True, remaining=0.5), None),
        (FakeContext(active=False), CANCELLED),
        (FakeContext(active=False, remaining=0.5), CANCELLED),
        (FakeContext(active=False, remaining=0.0), EXPIRED),
        (FakeContext(active=False, remaining=-0.1), EXPIRED),
    ],
)
def test_a_caller_that_has_gone_has_cancelled_or_run_out_of_time(context: FakeContext, kind: Kind | None) -> None:
    refusal = gone(as_context(context))
    assert (refusal and refusal.kind) is kind
    if kind is None:
        check_alive(as_context(context))
    else:
        with pytest.raises(Refusal):
            check_alive(as_context(context))


def test_the_reference_has_a_row_for_every_kind() -> None:
    rows = reference().splitlines()[2:]
    assert len(rows) == len(STATUS_TABLE) + len(BY_GRPC)
    for kind, row in zip(STATUS_TABLE, rows, strict=False):
        assert f"`{kind.code.name}` | `{kind.reason}`" in row
