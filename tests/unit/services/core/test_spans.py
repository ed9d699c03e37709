from __future__ import annotations

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from services.core.admission import Gate, Lane
from services.core.call_threads import CallThreads
from services.core.endpoints import Endpoints, Lanes
from services.core.errors import INVALID, NO_MODEL, STATUS_TABLE, Kind, Refusal
from services.core.logs import JsonFormatter
from services.core.metrics import LaneMetrics
from services.core.spans import REPEAT_SECONDS, SERVERS_FAULTS, TABLES, Complaints, SpanTracer
from services.core.stages import StageMetrics
from services.core.tracing import current_trace
from services.core.waiting import Patience
from tests.support.metrics import page, series
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from services.core.manager import Served

SERVICE = "regulars.test.v1.Traced"
SECRET = "the customer's own words"
SERVED = cast("Served", SimpleNamespace(version=SimpleNamespace(version="7")))
ROWS = 3
EVERY = 8

PARENT_TRACE, PARENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def traceparent(*, sampled: bool) -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{PARENT_TRACE}-{PARENT_SPAN}-{sampled:02x}"),)


class Scoring:
    """A servicer whose calls go through every stage; it logs a line for each, and does as it is told."""

    def __init__(self) -> None:
        self.unary_stages = StageMetrics(SERVICE, "Unary", EVERY)
        self.stream_stages = StageMetrics(SERVICE, "Stream")
        self.lines: list[dict[str, Any]] = []
        self.meeting = threading.Barrier(1)

    def unary(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        stages = self.unary_stages.of_call()
        stages.start()
        self.meeting.wait(PATIENCE_SECONDS)
        record = logging.LogRecord("test", logging.INFO, "x.py", 1, request.value, (), None)
        self.lines.append(json.loads(JsonFormatter().format(record)))
        with stages.decode():
            stages.tell(SERVED, 1)
        with stages.run():
            if request.value == "fail":
                raise ValueError(SECRET)
            for kind in STATUS_TABLE:
                if request.value == kind.reason:
                    raise Refusal(kind)
        with stages.encode():
            return StringValue(value=request.value)

    def stream(self, requests: Iterator[StringValue], context: grpc.ServicerContext) -> Iterator[StringValue]:
        self.stream_stages.of_call().start()
        for request in requests:
            stages = self.stream_stages.of_call()
            if request.value == "unavailable":
                # Before anything of it is read.
                stages.refuse(NO_MODEL)
                yield StringValue(value=request.value)
                continue
            with stages.decode():
                if request.value == "fail":
                    raise ValueError(SECRET)
            if request.value == "refuse":
                stages.refuse(INVALID)
            else:
                stages.tell(SERVED, ROWS)
                with stages.run(), stages.encode():
                    pass
            yield StringValue(value=request.value)


class TracedServer:
    """A real server whose spans stay here."""

    def __init__(self) -> None:
        self.scoring = Scoring()
        self.exporter = InMemorySpanExporter()
        self.tracer = SpanTracer("churn", self.exporter)
        self.server = grpc.server(ThreadPoolExecutor(1))
        gate = Gate()
        self.lanes = [Lane(8, 8, gate, LaneMetrics(f"traced {name}")) for name in ("one", "batch", "bulk")]
        endpoints = Endpoints(
            self.server, Lanes(*self.lanes), Patience(), idle_seconds=PATIENCE_SECONDS, tracer=self.tracer
        )
        unary = grpc.unary_unary_rpc_method_handler(
            self.scoring.unary, StringValue.FromString, StringValue.SerializeToString
        )
        stream = grpc.stream_stream_rpc_method_handler(
            self.scoring.stream, StringValue.FromString, StringValue.SerializeToString
        )
        endpoints.add_registered_method_handlers(SERVICE, {"Unary": unary, "Stream": stream})
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        serialise = StringValue.SerializeToString
        self.unary = self.channel.unary_unary(f"/{SERVICE}/Unary", serialise, StringValue.FromString)
        self.stream = self.channel.stream_stream(f"/{SERVICE}/Stream", serialise, StringValue.FromString)

    def say(self, text: str, **options: Any) -> None:
        self.unary(StringValue(value=text), **options)

    def refused(self, text: str) -> None:
        with pytest.raises(grpc.RpcError):
            self.say(text)

    def spans(self) -> list[ReadableSpan]:
        """All of them; there are no more calls afterwards."""
        self.close()
        return list(self.exporter.get_finished_spans())

    def close(self) -> None:
        self.channel.close()
        self.server.stop(None).wait()
        for lane in self.lanes:
            # A caller who goes is not waited for: his call may not have ended yet.
            lane.shutdown()
        self.tracer.stop(PATIENCE_SECONDS)


@pytest.fixture
def served() -> Iterator[TracedServer]:
    server = TracedServer()
    yield server
    server.close()


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def failed(span: ReadableSpan) -> bool:
    return not span.status.is_ok


def ids(span: ReadableSpan) -> dict[str, str]:
    return {"trace_id": format_trace_id(span.context.trace_id), "span_id": format_span_id(span.context.span_id)}


def test_a_call_is_a_span_and_its_stages_are_events_in_their_order(served: TracedServer) -> None:
    served.say("hello")
    (span,) = served.spans()
    assert (span.name, span.kind, span.parent) == (f"{SERVICE}/Unary", SpanKind.SERVER, None)
    assert told(span) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/Unary",
        "rpc.response.status_code": "OK",
        "regulars.lane": "traced one",
        "regulars.version": "7",
        "regulars.rows": 1,
    }
    assert not failed(span)
    assert [event.name for event in span.events] == ["queue", "decode", "run", "encode"]
    assert all(cast("float", (event.attributes or {})["regulars.seconds"]) >= 0 for event in span.events)
    times = [event.timestamp for event in span.events]
    assert times == sorted(times)
    assert told(span).keys().isdisjoint(span.resource.attributes)
    assert span.resource.attributes["service.name"] == "regulars-churn"


def test_every_traced_call_tells_its_stages_and_metrics_count_one_in_so_many_as_before(served: TracedServer) -> None:
    before = page(grpc_service=SERVICE, grpc_method="Unary")
    for _ in range(EVERY + 1):
        served.say("hello")
    after = page(grpc_service=SERVICE, grpc_method="Unary")
    for stage in ("queue", "decode", "run", "encode"):
        counted = series("regulars_stage_seconds_count", stage=stage)
        assert after[counted] - before[counted] == 2
    assert {len(span.events) for span in served.spans()} == {4}


def test_a_span_begins_when_the_call_came_and_not_when_it_was_handled(served: TracedServer) -> None:
    context = cast("grpc.ServicerContext", SimpleNamespace(invocation_metadata=tuple))
    handle = served.tracer.unary("s/m", "one", lambda _requests, _context: b"")
    let_go = threading.Event()
    with CallThreads(1) as threads:
        threads.submit(let_go.wait)
        waiting = threads.submit(handle, iter([]), context)
        came = time.time_ns()
        time.sleep(0.01)
        let_go.set()
        waiting.result()
    (span,) = served.spans()
    assert span.start_time is not None
    assert span.start_time <= came


def test_a_call_belongs_to_the_trace_that_its_caller_names(served: TracedServer) -> None:
    served.say("hello", metadata=traceparent(sampled=True))
    (span,) = served.spans()
    assert span.parent is not None
    assert (format_trace_id(span.context.trace_id), format_span_id(span.parent.span_id)) == (PARENT_TRACE, PARENT_SPAN)


def test_what_the_caller_does_not_sample_is_not_traced(served: TracedServer) -> None:
    served.say("hello", metadata=traceparent(sampled=False))
    assert len(list(served.stream(iter([StringValue()]), metadata=traceparent(sampled=False)))) == 1
    assert served.spans() == []
    (line,) = served.scoring.lines
    assert "trace_id" not in line


headers = st.lists(
    st.tuples(
        st.sampled_from(["traceparent", "tracestate", "authorization", "x"]),
        st.text() | st.binary() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
    ),
    max_size=4,
)


@given(headers)
def test_no_headers_break_a_call(metadata: list[tuple[str, str | bytes]]) -> None:
    context = cast("grpc.ServicerContext", SimpleNamespace(invocation_metadata=lambda: metadata))
    assert ANSWERING(iter([]), context) == b"answer"


ANSWERING = SpanTracer("churn", InMemorySpanExporter()).unary("s/m", "test", lambda _requests, _context: b"answer")


@pytest.mark.parametrize("kind", STATUS_TABLE, ids=lambda kind: kind.reason)
def test_an_error_is_the_server_s_by_the_conventions_of_grpc(served: TracedServer, kind: Kind) -> None:
    served.refused(kind.reason)
    (span,) = served.spans()
    assert told(span)["rpc.response.status_code"] == kind.code.name
    assert told(span)["regulars.reason"] == kind.reason
    assert failed(span) is (kind.code in SERVERS_FAULTS)
    assert told(span).get("error.type") == (kind.code.name if failed(span) else None)


def test_nothing_of_an_exception_but_its_code_is_in_the_span(served: TracedServer) -> None:
    served.refused("fail")
    (span,) = served.spans()
    assert told(span)["rpc.response.status_code"] == "INTERNAL"
    assert [event.name for event in span.events] == ["queue", "decode", "run"]
    assert SECRET not in span.to_json()


def test_lines_within_calls_bear_the_ids_of_their_own_call(served: TracedServer) -> None:
    calls = 8
    served.scoring.meeting = threading.Barrier(calls)
    with ThreadPoolExecutor(calls) as callers:
        list(callers.map(served.say, [str(number) for number in range(calls)]))
    logged = [{"trace_id": line["trace_id"], "span_id": line["span_id"]} for line in served.scoring.lines]
    spans = served.spans()
    assert len({str(line) for line in logged}) == calls
    assert sorted(logged, key=str) == sorted(map(ids, spans), key=str)


def test_a_table_of_a_stream_is_a_span_and_one_that_is_refused_says_why(served: TracedServer) -> None:
    words = ["first", "refuse", "unavailable", "last"]
    assert len(list(served.stream(StringValue(value=word) for word in words))) == len(words)
    *tables, call = served.spans()
    assert call.name == f"{SERVICE}/Stream"
    assert [event.name for event in call.events] == ["queue"]
    assert (told(call)["regulars.tables"], told(call)["regulars.rows"]) == (4, 2 * ROWS)
    assert told(call)["rpc.response.status_code"] == "OK"
    assert [told(table) for table in tables] == [
        {"regulars.table": 0, "regulars.version": "7", "regulars.rows": ROWS},
        {"regulars.table": 1, "regulars.reason": "INVALID_CUSTOMERS"},
        {"regulars.table": 2, "regulars.reason": "NO_MODEL_LOADED", "error.type": "UNAVAILABLE"},
        {"regulars.table": 3, "regulars.version": "7", "regulars.rows": ROWS},
    ]
    assert [failed(table) for table in tables] == [False, False, True, False]
    assert [len(table.events) for table in tables] == [3, 1, 0, 3]
    assert {table.parent.span_id for table in tables if table.parent} == {call.context.span_id}


def test_of_a_long_stream_the_first_tables_are_spans_and_all_are_counted(served: TracedServer) -> None:
    tables = TABLES + 5
    assert len(list(served.stream(StringValue() for _ in range(tables)))) == tables
    *first, call = served.spans()
    assert [told(table)["regulars.table"] for table in first] == list(range(TABLES))
    assert (told(call)["regulars.tables"], told(call)["regulars.rows"]) == (tables, tables * ROWS)


def test_a_table_that_fails_ends_with_its_stream(served: TracedServer) -> None:
    with pytest.raises(grpc.RpcError):
        list(served.stream(iter([StringValue(value="fail")])))
    table, call = served.spans()
    assert (told(table), told(call)["rpc.response.status_code"]) == ({"regulars.table": 0}, "INTERNAL")
    assert SECRET not in table.to_json() + call.to_json()


def test_a_stream_whose_caller_goes_is_cancelled(served: TracedServer) -> None:
    let_go = threading.Event()

    def requests() -> Iterator[StringValue]:
        yield StringValue()
        let_go.wait(PATIENCE_SECONDS)

    call = served.stream(requests())
    next(call)
    call.cancel()
    let_go.set()
    _, span = served.spans()
    assert told(span)["rpc.response.status_code"] == "CANCELLED"
    assert not failed(span)


def test_answers_that_grpc_closes_end_the_span(served: TracedServer) -> None:
    context = SimpleNamespace(invocation_metadata=tuple, is_active=lambda: False, time_remaining=lambda: None)
    closed: list[object] = []

    def handle(_requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        try:
            yield b"one"
        except GeneratorExit:
            closed.append(current_trace())
            raise

    answers = served.tracer.stream("s/m", "bulk", handle)(iter([]), cast("grpc.ServicerContext", context))
    assert next(answers) == b"one"
    trace = current_trace()
    answers.close()  # type: ignore[attr-defined]  # a generator
    assert closed == [trace]
    assert current_trace() is None
    (span,) = served.spans()
    assert told(span)["rpc.response.status_code"] == "CANCELLED"


def test_the_environment_names_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "scoring")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=churn-0,service.instance.id=zero")
    server = TracedServer()
    server.say("hello")
    (span,) = server.spans()
    process = span.resource.attributes
    assert [process[name] for name in ("service.name", "k8s.pod.name", "service.instance.id", "regulars.model")] == [
        "scoring",
        "churn-0",
        "zero",
        "churn",
    ]


class HangingExporter(SpanExporter):
    """Takes spans and comes back when it is shut down."""

    def __init__(self) -> None:
        self.asked, self.ended = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.ended.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.ended.set()


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.05])
def test_a_collector_that_hangs_is_given_up(seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    exporter = HangingExporter()
    tracer = SpanTracer("churn", exporter)
    context = cast("grpc.ServicerContext", SimpleNamespace(invocation_metadata=tuple))
    assert tracer.unary("s/m", "one", lambda _requests, _context: b"")(iter([]), context) == b""
    tracer.stop(seconds)
    assert exporter.ended.is_set()
    assert [record.getMessage() for record in caplog.records if record.name == "services.core.spans"] == [
        "spans are lost: the collector did not take them in time"
    ]
    eventually(lambda: "spans" not in {thread.name for thread in threading.enumerate()}, "the end of the flush")


def test_of_what_opentelemetry_says_the_same_comes_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    library = logging.Logger("opentelemetry.exporter.test")  # noqa: LOG001 - of this test alone
    library.addHandler(Complaints(lambda: now[0]))
    at: list[tuple[float, Callable[[], None]]] = [
        (0.0, lambda: library.warning("cannot reach %s, again in %.2f s", "collector", 1.0)),
        (1.0, lambda: library.warning("cannot reach %s, again in %.2f s", "collector", 2.0)),
        (2.0, lambda: library.error("queue full")),
        (3.0, lambda: library.info("nothing of interest")),
        (REPEAT_SECONDS, lambda: library.warning("cannot reach %s, again in %.2f s", "collector", 3.0)),
    ]
    for moment, say in at:
        now[0] = moment
        say()
    assert [(record.levelname, cast("Any", record).fields["what"]) for record in caplog.records] == [
        ("WARNING", "cannot reach collector, again in 1.00 s"),
        ("ERROR", "queue full"),
        ("WARNING", "cannot reach collector, again in 3.00 s"),
    ]


def test_what_opentelemetry_quotes_of_headers_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.Logger("opentelemetry.trace.span")  # noqa: LOG001 - of this test alone
    library.addHandler(Complaints())
    library.warning("the member is not well formed: %s", SECRET)
    assert [cast("Any", record).fields["what"] for record in caplog.records] == ["the member is not well formed: %s"]
