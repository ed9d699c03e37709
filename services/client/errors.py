"""What a failed call says, unpacked from its `google.rpc` details."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

STATUS_TRAILER = "grpc-status-details-bin"


@dataclass(eq=False)
class CallError(Exception):
    """A call that failed, or a table of a stream that was refused.

    `reason` is the server's own code word (INVALID_CUSTOMERS …), empty if the server never answered; `violations`
    maps paths of the request to what is wrong there.
    """

    code: grpc.StatusCode
    message: str
    reason: str
    violations: dict[str, str]

    def __str__(self) -> str:
        fields = "".join(f"\n  {path}: {what}" for path, what in self.violations.items())
        return f"{' '.join(filter(None, (self.code.name, self.reason)))}: {self.message}{fields}"

    @classmethod
    def from_rpc(cls, error: grpc.RpcError) -> CallError:
        """Unpacks the exception of a failed call."""
        trailers: dict[str, bytes] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # pairs, as gRPC gives them
        if STATUS_TRAILER in trailers:
            return cls.from_status(status_pb2.Status.FromString(trailers[STATUS_TRAILER]))
        return cls(error.code(), error.details() or "", "", {})

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> CallError:
        """Unpacks a status message, as streams carry it."""
        info = error_details_pb2.ErrorInfo()
        request = error_details_pb2.BadRequest()
        for detail in status.details:
            _unpack(detail, info) or _unpack(detail, request)
        violations = {violation.field: violation.description for violation in request.field_violations}
        code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
        return cls(code, status.message, info.reason, violations)


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def _unpack(detail: object, message: Message) -> bool:
    unpacked: bool = detail.Unpack(message)  # type: ignore[attr-defined]  # google.rpc carries no types
    return unpacked
