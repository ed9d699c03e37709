"""Client spans of calls, by the tracer provider of the application, which is the one that sets it up.

Nobody has set one up who has not imported `opentelemetry.trace`. So nothing is imported here before that is, and where
OpenTelemetry is not installed nothing is missed.
"""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING

import grpc

from services.client.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Tracer, TracerProvider

Metadata = tuple[tuple[str, str], ...]

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The semantic conventions that the attributes follow."""

_UNTRACED: AbstractContextManager[Metadata] = nullcontext(())

_TARGET = re.compile(r"(?:\w+:(?://[^/]*/)?(?=.*:))?(?P<address>.+?)(?::(?P<port>\d+))?")
"""`host:port`, with or without what gRPC may have before it: `dns:///`, `ipv4:`."""


class CallTracing:
    """Traces the calls of one client."""

    def __init__(self, target: str) -> None:
        self._server = _server_of(target)

    def call(self, method: str) -> AbstractContextManager[Metadata]:
        """A span around a call of `/package.Service/Method`; gives what tells the server of it.

        Its status is that of the CallError that leaves it; of any other exception, CANCELLED.
        """
        provider = _provider()
        return self._span(_tracer_of(provider), method.removeprefix("/")) if provider else _UNTRACED

    @property
    def is_on(self) -> bool:
        """Whether calls are traced."""
        return _provider() is not None

    @contextmanager
    def _span(self, tracer: Tracer, method: str) -> Iterator[Metadata]:
        from opentelemetry import trace  # noqa: PLC0415 - the application has imported it
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        attributes = {"rpc.system.name": "grpc", "rpc.method": method, **self._server}
        span = tracer.start_span(method, kind=trace.SpanKind.CLIENT, attributes=attributes)
        headers: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(headers, trace.set_span_in_context(span))
        code = grpc.StatusCode.OK
        try:
            yield tuple(headers.items())
        except CallError as error:
            code = error.code
            raise
        except BaseException:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            span.set_attribute("rpc.response.status_code", code.name)
            if code is not grpc.StatusCode.OK:
                span.set_attribute("error.type", code.name)
                span.set_status(trace.Status(trace.StatusCode.ERROR))
            span.end()


def _provider() -> TracerProvider | None:
    """What the application has set up, if it has."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace  # noqa: PLC0415 - the application has imported it

    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider


@lru_cache(maxsize=1)
def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("regulars.client", schema_url=SCHEMA)


def _server_of(target: str) -> dict[str, str | int]:
    """`server.address` and `server.port` of a target."""
    found = _TARGET.fullmatch(target)
    if found is None or found["port"] is None:
        return {"server.address": target}
    return {"server.address": found["address"].strip("[]"), "server.port": int(found["port"])}
