"""A collector of traces: a real server of the OpenTelemetry protocol that keeps what it gets."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.support.polling import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

Value = str | int | float


@dataclass(frozen=True)
class SeenSpan:
    """A span as it came, and whose it is: the attributes of its process."""

    span: Span
    process: Mapping[str, Value]

    @property
    def attributes(self) -> dict[str, Value]:
        return _read(self.span.attributes)

    @property
    def events(self) -> dict[str, dict[str, Value]]:
        return {event.name: _read(event.attributes) for event in self.span.events}

    @property
    def ids(self) -> dict[str, str]:
        """As logs bear them."""
        return {"trace_id": self.span.trace_id.hex(), "span_id": self.span.span_id.hex()}


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes every export, but not before it is let."""

    endpoint: str = ""
    requests: list[trace_service_pb2.ExportTraceServiceRequest] = field(default_factory=list)
    letting: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def Export(  # noqa: N802 - the method's name in the proto
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.asked.set()
        self.letting.wait()
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def variables(self) -> dict[str, str]:
        """With these a server exports here, soon after each call."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    @property
    def spans(self) -> list[SeenSpan]:
        """So far."""
        return [
            SeenSpan(span, _read(process.resource.attributes))
            for request in list(self.requests)
            for process in request.resource_spans
            for scope in process.scope_spans
            for span in scope.spans
        ]

    def wait_for(self, count: int, which: Callable[[SeenSpan], bool] = lambda _: True) -> list[SeenSpan]:
        """So many of those spans."""

        def seen() -> list[SeenSpan] | None:
            spans = [span for span in self.spans if which(span)]
            return spans if len(spans) >= count else None

        return eventually(seen, f"{count} spans")


@contextmanager
def collecting(*, hangs: bool = False) -> Iterator[Collector]:
    """A collector on a free port; one that hangs takes what it is sent and answers nobody."""
    collector = Collector()
    if not hangs:
        collector.letting.set()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]  # generated without types
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        collector.letting.set()
        server.stop(None).wait()


def _read(attributes: object) -> dict[str, Value]:
    pairs: list[KeyValue] = list(attributes)  # type: ignore[call-overload]  # a repeated field
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
