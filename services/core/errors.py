"""Every error that a caller can meet: one table, from which answers, documentation and retry policy follow.

Refusal                what the caller did, or what the server cannot do now
ScoringError           our bug: becomes INTERNAL with a constant text
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.message import Message

_log = logging.getLogger(__name__)

DOMAIN = "regulars"

MAX_VIOLATIONS = 16
"""More field violations than this are counted, not listed: large trailers break clients."""


@dataclass(frozen=True)
class Kind:
    """One row of the status table. `text` is constant: nothing of the request flows into it."""

    reason: str
    code: grpc.StatusCode
    when: str
    text: str
    retry_after: float | None = None


MALFORMED = Kind(
    "MALFORMED_MESSAGE",
    grpc.StatusCode.INTERNAL,
    "bytes that are no protobuf",
    "The message is not the protobuf message that this method takes.",
)
INVALID = Kind(
    "INVALID_CUSTOMERS",
    grpc.StatusCode.INVALID_ARGUMENT,
    "too many rows, an empty batch, duplicate or empty ids, unequal column lengths, an unknown or missing feature, "
    "a wrong kind, NaN or infinity where no missing value is allowed, a number beyond float32",
    "The customers do not fit the model's schema; see the field violations, and ModelService.GetModel.",
)
NO_MODEL = Kind(
    "NO_MODEL_LOADED",
    grpc.StatusCode.UNAVAILABLE,
    "no model is loaded yet",
    "No model is loaded yet.",
    retry_after=1.0,
)
DRAINING = Kind(
    "DRAINING",
    grpc.StatusCode.UNAVAILABLE,
    "the server is shutting down",
    "The server is shutting down.",
    retry_after=0.1,
)
SATURATED = Kind(
    "SATURATED",
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    "more calls in flight than the lane admits",
    "The server is saturated.",
    retry_after=0.1,
)
EXPIRED = Kind(
    "DEADLINE_EXCEEDED",
    grpc.StatusCode.DEADLINE_EXCEEDED,
    "the caller's deadline has passed; work stops at the next slice",
    "The deadline has passed.",
)
CANCELLED = Kind(
    "CANCELLED",
    grpc.StatusCode.CANCELLED,
    "the caller has gone; work stops at the next slice",
    "The call was cancelled.",
)
INTERNAL = Kind(
    "INTERNAL",
    grpc.StatusCode.INTERNAL,
    "a failure of ours, a score that is not finite",
    "The server failed to score these customers.",
)

STATUS_TABLE = (MALFORMED, INVALID, NO_MODEL, DRAINING, SATURATED, EXPIRED, CANCELLED, INTERNAL)


@dataclass(frozen=True)
class Violation:
    """A field of the request and what is wrong with it; never its value."""

    field: str
    description: str


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """A call that is answered with a status of the table."""

    def __init__(self, kind: Kind, violations: Sequence[Violation] = ()) -> None:
        super().__init__(kind.reason)
        self.kind = kind
        self.violations = violations

    def to_status(self) -> status_pb2.Status:
        """The answer with its details: ErrorInfo always, BadRequest and RetryInfo where they say something."""
        info = error_details_pb2.ErrorInfo(reason=self.kind.reason, domain=DOMAIN)
        details: list[Message] = [info]
        if self.violations:
            info.metadata["violations"] = str(len(self.violations))
            details.append(_bad_request(self.violations[:MAX_VIOLATIONS]))
        if self.kind.retry_after is not None:
            delay = duration_pb2.Duration(
                nanos=int(self.kind.retry_after % 1 * 1e9), seconds=int(self.kind.retry_after)
            )
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        code: int = self.kind.code.value[0]
        return status_pb2.Status(code=code, message=self.kind.text, details=_pack(details))

    def abort(self, context: grpc.ServicerContext) -> NoReturn:
        """Ends the call with this answer."""
        metadata = [("grpc-status-details-bin", self.to_status().SerializeToString())]
        if self.kind is SATURATED and self.kind.retry_after is not None:
            # What gRPC's own retry policy obeys.
            metadata.append(("grpc-retry-pushback-ms", str(int(self.kind.retry_after * 1000)).encode()))
        context.set_trailing_metadata(tuple(metadata))
        context.abort(self.kind.code, self.kind.text)


def gone(context: grpc.ServicerContext) -> Refusal | None:
    """CANCELLED or EXPIRED when nobody waits for the answer any more."""
    if context.is_active():
        return None
    remaining = context.time_remaining()
    return Refusal(EXPIRED if remaining is not None and remaining <= 0 else CANCELLED)


def check_alive(context: grpc.ServicerContext) -> None:
    """Raises Refusal when nobody waits for the answer any more."""
    refusal = gone(context)
    if refusal is not None:
        raise refusal


def as_refusal(error: Exception) -> Refusal:
    """What a caller may know of an exception: itself, if it is an answer; else INTERNAL, and the log says where."""
    if isinstance(error, Refusal):
        return error
    _log.error("a call failed", exc_info=error)
    return Refusal(INTERNAL)


def reference() -> str:
    """The status table as Markdown."""
    rows = [f"| {kind.when} | `{kind.code.name}` | `{kind.reason}` | {_retry_text(kind)} |" for kind in STATUS_TABLE]
    return "\n".join(["| condition | code | reason | retry |", "|---|---|---|---|", *rows])


def _retry_text(kind: Kind) -> str:
    return "no" if kind.retry_after is None else f"after {kind.retry_after:g} s"


def _bad_request(violations: Iterable[Violation]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in violations
        ]
    )


def _pack(details: Iterable[Message]) -> list[any_pb2.Any]:
    packed = []
    for detail in details:
        message = any_pb2.Any()
        message.Pack(detail)
        packed.append(message)
    return packed
