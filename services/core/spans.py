"""Spans of calls, by OpenTelemetry. Imported only where tracing is on.

A call is a span, and so is each table of a stream; their stages are events on it, each where it began and with the
seconds that it took. As spans of their own, four stages would cost four times the span.

Law: a span holds names out of the proto and the schema, counts, times and the version. No id, no value, no text of an
exception.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Self

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    INVALID_SPAN,
    SpanKind,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.core.call_threads import arrival
from services.core.errors import CANCELLED, Refusal, gone
from services.core.settings import SettingsError
from services.core.stages import CallStages
from services.core.tracing import handle_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AnyValue, Attributes

    from services.core.errors import Kind
    from services.core.manager import Served
    from services.core.stages import Stage

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The semantic conventions that the attributes follow."""

SERVERS_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""What the conventions call an error of a server; the others are its caller's."""

TABLES = 32
"""Of a stream that have a span: a base of any size must not become a trace of any size."""

REPEAT_SECONDS = 3600.0
"""Between two lines that say the same of a collector."""

_log = logging.getLogger(__name__)
_w3c = TraceContextTextMapPropagator()
_W3C_HEADERS = frozenset(_w3c.fields)


def open_tracer(model: str) -> SpanTracer:
    """A tracer that exports as the variables `OTEL_*` say.

    Raises:
        SettingsError: they hold what OpenTelemetry cannot take.
    """
    complaints = logging.getLogger("opentelemetry")
    complaints.handlers, complaints.propagate = [Complaints()], False
    try:
        return SpanTracer(model, OTLPSpanExporter())
    except Exception as error:
        raise SettingsError(f"tracing cannot be set up from the variables OTEL_*: {error}") from error


class Complaints(logging.Handler):
    """Passes on what OpenTelemetry logs, the same once an hour: a collector that is gone fails every export."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        super().__init__(logging.WARNING)
        self._clock = clock
        self._said: dict[object, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        if now >= self._said.get(record.msg, now):
            self._said[record.msg] = now + REPEAT_SECONDS
            fields = {"by": record.name, "what": _told(record)}
            _log.log(record.levelno, "spans may be lost", exc_info=record.exc_info, extra={"fields": fields})


def _told(record: logging.LogRecord) -> str:
    """What a line says, with what fills it where the exporter says it: others quote headers, of callers and our own."""
    return record.getMessage() if record.name.startswith("opentelemetry.exporter") else str(record.msg)


class SpanTracer:
    """Implements `services.core.tracing.Tracer`. A full queue drops spans; no call waits for an export."""

    def __init__(self, model: str, exporter: SpanExporter) -> None:
        self._exporter = exporter
        given = OTELResourceDetector().detect().attributes
        process: dict[str, AnyValue] = {
            "service.name": f"regulars-{model}",
            "process.pid": os.getpid(),
            "regulars.model": model,
        }
        resource = Resource.create({**process, **given})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("regulars", schema_url=SCHEMA)

    def unary(
        self, method: str, lane: str, handle: Callable[[Iterator[bytes], grpc.ServicerContext], bytes]
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]:
        begin = self._beginning(method, lane)

        def traced(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            span = begin(context)
            if not span.is_recording():
                return handle(requests, context)
            with CallSpan(span):
                return handle(requests, context)

        return traced

    def stream(
        self, method: str, lane: str, handle: Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]:
        begin = self._beginning(method, lane)

        def traced(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            span, answers = begin(context), handle(requests, context)
            return StreamSpan(span, self._tracer).trace(answers, context) if span.is_recording() else answers

        return traced

    def stop(self, seconds: float) -> None:
        # OpenTelemetry's own ways to flush take no time limit, or one of thirty seconds.
        flushing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        flushing.start()
        flushing.join(max(0.0, seconds))
        if flushing.is_alive():
            _log.warning("spans are lost: the collector did not take them in time")
            self._exporter.shutdown()

    def _beginning(self, method: str, lane: str) -> Callable[[grpc.ServicerContext], Span]:
        """What begins a call's span: when the call came, and under the span that its caller names."""
        attributes = {"rpc.system.name": "grpc", "rpc.method": method, "regulars.lane": lane}

        def begin(context: grpc.ServicerContext) -> Span:
            return self._tracer.start_span(
                method,
                _w3c.extract(_headers(context)),
                SpanKind.SERVER,
                attributes,
                start_time=time.time_ns() - int(_waited() * 1e9),
            )

        return begin


class CallSpan:
    """One call. Implements `services.core.tracing.CallTrace`; to be left when the call has ended."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._work = span
        """Where stages are written."""
        self._code = grpc.StatusCode.OK

    def __enter__(self) -> Self:
        handle_with(self)
        return self

    def __exit__(self, *_error: object) -> None:
        handle_with(None)
        self._span.set_attribute("rpc.response.status_code", self._code.name)
        self._span.end()

    @property
    def ids(self) -> dict[str, str]:
        context = self._span.get_span_context()
        return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}

    def refuse(self, kind: Kind) -> None:
        self._code = kind.code
        _refuse(self._span, kind)

    def stages(self, timed: CallStages) -> CallStages:
        def start() -> None:
            waited = _waited()
            timed.start()
            self._work.add_event("queue", _seconds(waited), time.time_ns() - int(waited * 1e9))

        def spent(stage: Stage, seconds: float) -> None:
            timed.spent(stage, seconds)
            # While it waited, at a time that calls share.
            self._work.add_event(stage, _seconds(seconds))

        return CallStages(
            start,
            decode=lambda: _stage(self._work, "decode", timed.decode()),
            run=lambda: _stage(self._work, "run", timed.run()),
            encode=lambda: _stage(self._work, "encode", timed.encode()),
            tell=self._tell,
            spent=spent,
        )

    def _tell(self, served: Served, rows: int) -> None:
        self._work.set_attributes({"regulars.version": served.version.version, "regulars.rows": rows})


class StreamSpan(CallSpan):
    """A stream; the first of its tables are spans under it."""

    def __init__(self, span: Span, tracer: Tracer) -> None:
        super().__init__(span)
        self._tracer = tracer
        self._parent = set_span_in_context(span)
        self._tables = self._rows = 0

    def trace(self, answers: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Passes on the answers, which are a generator's; each ends a table."""
        with self, closing(answers):  # type: ignore[type-var]  # a generator
            try:
                for answer in answers:
                    self._end_table()
                    yield answer
            except GeneratorExit:
                # gRPC closes the answers of a caller that has gone.
                self.refuse((gone(context) or Refusal(CANCELLED)).kind)
                raise

    def __exit__(self, *error: object) -> None:
        self._end_table()
        self._span.set_attributes({"regulars.tables": self._tables, "regulars.rows": self._rows})
        super().__exit__(*error)

    def stages(self, timed: CallStages) -> CallStages:
        stages = super().stages(timed)

        def decode() -> AbstractContextManager[object]:
            self._begin_table()
            return stages.decode()

        return CallStages(stages.start, decode, stages.run, stages.encode, stages.tell, self._refuse_table)

    def _refuse_table(self, kind: Kind) -> None:
        if self._work is self._span:
            # It was refused before anything of it was read.
            self._begin_table()
        _refuse(self._work, kind)

    def _begin_table(self) -> None:
        if self._tables < TABLES:
            self._work = self._tracer.start_span("table", self._parent, attributes={"regulars.table": self._tables})
        else:
            self._work = INVALID_SPAN
        self._tables += 1

    def _end_table(self) -> None:
        if self._work is not self._span:
            self._work.end()
            self._work = self._span

    def _tell(self, served: Served, rows: int) -> None:
        self._rows += rows
        super()._tell(served, rows)


@contextmanager
def _stage(span: Span, name: str, timed: AbstractContextManager[object]) -> Iterator[None]:
    """Times a stage for the span, beside whatever times it for the metrics."""
    began, beginning = time.perf_counter(), time.time_ns()
    try:
        with timed:
            yield
    finally:
        span.add_event(name, _seconds(time.perf_counter() - began), beginning)


def _refuse(span: Span, kind: Kind) -> None:
    span.set_attribute("regulars.reason", kind.reason)
    if kind.code in SERVERS_FAULTS:
        span.set_attribute("error.type", kind.code.name)
        span.set_status(Status(StatusCode.ERROR))


def _headers(context: grpc.ServicerContext) -> dict[str, str]:
    """What W3C Trace Context reads. A caller may send bytes instead of text."""
    metadata = context.invocation_metadata() or ()
    return {name: value for name, value in metadata if name in _W3C_HEADERS and isinstance(value, str)}


def _waited() -> float:
    """Seconds since the call came."""
    arrived = arrival()
    return 0.0 if arrived is None else time.perf_counter() - arrived


def _seconds(seconds: float) -> Attributes:
    return {"regulars.seconds": seconds}
