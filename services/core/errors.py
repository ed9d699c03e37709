"""Every error that a caller can meet: one table, from which answers, documentation and retry policy follow.

Refusal                what the caller did, or what the server cannot do now
ScoringError           our bug: becomes INTERNAL with a constant text
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cache
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

MAX_RESOURCE_NAME = 64
"""A name of the caller's longer than this is cut."""


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
    "bytes that are no protobuf, or no message at all",
    "The message is not the protobuf message that this method takes.",
)
INVALID = Kind(
    "INVALID_CUSTOMERS",
    grpc.StatusCode.INVALID_ARGUMENT,
    "too many rows, an empty batch, duplicate or empty ids, unequal column lengths, an unknown or missing feature, "
    "a wrong kind, NaN or infinity where no missing value is allowed, a number beyond float32",
    "The customers do not fit the model's schema; see the field violations, and ModelService.GetModel.",
)
UNAUTHENTICATED = Kind(
    "UNAUTHENTICATED",
    grpc.StatusCode.UNAUTHENTICATED,
    "no credentials, or none that this server accepts",
    "The call carries no credentials that this server accepts.",
)
FORBIDDEN = Kind(
    "FORBIDDEN",
    grpc.StatusCode.PERMISSION_DENIED,
    "credentials that do not allow this method",
    "The credentials of the call do not allow this method.",
)
UNKNOWN_MODEL = Kind(
    "UNKNOWN_MODEL",
    grpc.StatusCode.NOT_FOUND,
    "a model or a version that this server does not serve",
    "This server does not serve that model or that version.",
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
IDLE = Kind(
    "STREAM_IDLE",
    grpc.StatusCode.UNAVAILABLE,
    "a stream on which no message came for `REGULARS_IDLE_SECONDS`",
    "Nothing has come on this stream for too long.",
    retry_after=0.1,
)
SATURATED = Kind(
    "SATURATED",
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    "more calls in flight than the lane admits; the answer says when to come back, later the more are refused",
    "The server is saturated.",
    retry_after=0.1,
)
EXPIRED = Kind(
    "DEADLINE_EXCEEDED",
    grpc.StatusCode.DEADLINE_EXCEEDED,
    "the caller's deadline has passed, or is too near for a table of this size; work stops at the next slice",
    "The deadline has passed.",
)
CANCELLED = Kind(
    "CANCELLED",
    grpc.StatusCode.CANCELLED,
    "the caller has gone, takes no answers for `REGULARS_IDLE_SECONDS`, or sends no message within 5 s of its headers; "
    "work stops at the next slice",
    "The call was cancelled.",
)
INTERNAL = Kind(
    "INTERNAL",
    grpc.StatusCode.INTERNAL,
    "a failure of ours, a score that is not finite",
    "The server failed to score these customers.",
)

STATUS_TABLE = (
    *(MALFORMED, INVALID, UNAUTHENTICATED, FORBIDDEN, UNKNOWN_MODEL),
    *(NO_MODEL, DRAINING, IDLE, SATURATED, EXPIRED, CANCELLED, INTERNAL),
)

BY_GRPC = (
    ("a message over `REGULARS_MAX_MESSAGE_BYTES`, compressed or inflated", grpc.StatusCode.RESOURCE_EXHAUSTED, "no"),
    ("headers over 16 KiB", grpc.StatusCode.RESOURCE_EXHAUSTED, "no"),
    ("a method that is not there", grpc.StatusCode.UNIMPLEMENTED, "no"),
    ("a call that reaches a server as it stops", grpc.StatusCode.CANCELLED, "at once"),
    ("no server, or a connection that broke", grpc.StatusCode.UNAVAILABLE, "at once"),
)
"""What gRPC answers before a call reaches us: when, with which code, and whether to try again. Without any details."""


@dataclass(frozen=True)
class Violation:
    """A field of the request and what is wrong with it; never its value."""

    field: str
    description: str


@dataclass(frozen=True)
class Resource:
    """What the caller asked for and is not there, e.g. `Resource("model", "chrn")`."""

    kind: str
    name: str


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """A call that is answered with a status of the table."""

    def __init__(
        self,
        kind: Kind,
        violations: Sequence[Violation] = (),
        *,
        resource: Resource | None = None,
        text: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """`text` and `retry_after` stand in for the kind's; like a violation, a text holds no value of the request."""
        super().__init__(kind.reason)
        self.kind = kind
        self.text = text or kind.text
        self.retry_after = retry_after or kind.retry_after
        self.violations = violations
        self.resource = resource

    def to_status(self) -> status_pb2.Status:
        """The answer with its details: ErrorInfo always, the others where they say something."""
        info = error_details_pb2.ErrorInfo(reason=self.kind.reason, domain=DOMAIN)
        details: list[Message] = [info]
        if self.violations:
            info.metadata["violations"] = str(len(self.violations))
            details.append(_bad_request(self.violations[:MAX_VIOLATIONS]))
        if self.resource is not None:
            name = self.resource.name[:MAX_RESOURCE_NAME]
            details.append(error_details_pb2.ResourceInfo(resource_type=self.resource.kind, resource_name=name))
        if self.retry_after is not None:
            delay = duration_pb2.Duration(nanos=int(self.retry_after % 1 * 1e9), seconds=int(self.retry_after))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        code: int = self.kind.code.value[0]
        return status_pb2.Status(code=code, message=self.text, details=_pack(details))

    def abort(self, context: grpc.ServicerContext) -> NoReturn:
        """Ends the call with this answer."""
        metadata: list[tuple[str, str | bytes]] = []
        if self.kind is SATURATED:
            self.retry_after = max(self.retry_after or 0.0, _soonest(context))
            # What gRPC's own retry policy obeys.
            metadata.append(("grpc-retry-pushback-ms", str(round(self.retry_after * 1000))))
        metadata.append(("grpc-status-details-bin", self._details()))
        context.set_trailing_metadata(tuple(metadata))
        context.abort(self.kind.code, self.text)

    def _details(self) -> bytes:
        if self.violations or self.resource or self.text is not self.kind.text:
            details: bytes = self.to_status().SerializeToString()
            return details
        # Whole milliseconds first: the difference of two times ends a hair above the tenth that was meant.
        return _plain_details(self.kind, math.ceil(round((self.retry_after or 0.0) * 1000) / 100))


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


def as_refusal(error: BaseException) -> Refusal:
    """What a caller may know of an exception: itself, if it is an answer; else INTERNAL, and the log says where."""
    if isinstance(error, Refusal):
        return error
    _log.error("a call failed", exc_info=error)
    return Refusal(INTERNAL)


def reference() -> str:
    """The status table as Markdown."""
    rows = [f"| {kind.when} | `{kind.code.name}` | `{kind.reason}` | {_retry_text(kind)} |" for kind in STATUS_TABLE]
    rows += [f"| {when} | `{code.name}` | none, no details | {retry} |" for when, code, retry in BY_GRPC]
    return "\n".join(["| condition | code | reason | retry |", "|---|---|---|---|", *rows])


@cache
def _plain_details(kind: Kind, tenths: int) -> bytes:
    """Of a refusal that says nothing special, and when to come back in tenths of a second: made for crowds."""
    details: bytes = Refusal(kind, retry_after=tenths / 10).to_status().SerializeToString()
    return details


_SOONEST: dict[str | bytes | None, float] = {"1": 0.2, "2": 0.4, "3": 0.8, "4": 1.6}
"""Seconds, by what gRPC says of the attempts that a call has behind it, which are four at most."""


def _soonest(context: grpc.ServicerContext) -> float:
    """When a caller may come back at the soonest, in seconds: who was refused before waits twice as long."""
    return _SOONEST.get(dict(context.invocation_metadata() or ()).get("grpc-previous-rpc-attempts"), 0.1)


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
