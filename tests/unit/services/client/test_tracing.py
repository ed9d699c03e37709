from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from services.client import ChurnClient
from services.client.errors import CallError
from services.client.tracing import CallTracing, Metadata, _server_of
from tests.support.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

METHOD = "regulars.churn.v1.ChurnService/PredictChurn"
SECRET = "the customer's own words"


class Application:
    """A provider that keeps its spans, in the place of the global one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = CallTracing("churn:50051")
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: self.provider)

    def call(self) -> Metadata:
        with self.tracing.call(f"/{METHOD}") as metadata:
            return metadata

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


def is_sampled(traceparent: str) -> bool:
    return bool(int(traceparent[-2:], 16) & 1)


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Application:
    return Application(monkeypatch)


def test_a_call_is_a_span_and_the_server_is_told_of_it(application: Application) -> None:
    ((name, value),) = application.call()
    (span,) = application.spans
    ids = f"{format_trace_id(span.context.trace_id)}-{format_span_id(span.context.span_id)}"
    assert (name, value[:-3]) == ("traceparent", f"00-{ids}")
    assert is_sampled(value)
    assert (span.name, span.kind) == (METHOD, SpanKind.CLIENT)
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
        "server.address": "churn",
        "server.port": 50051,
    }
    assert span.status.is_unset


def test_it_is_the_child_of_what_the_application_does(application: Application) -> None:
    with application.provider.get_tracer("shop").start_as_current_span("shop") as work:
        application.call()
    span, _ = application.spans
    assert span.parent == work.get_span_context()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            CallError(grpc.StatusCode.INVALID_ARGUMENT, SECRET, "INVALID_CUSTOMERS", {SECRET: SECRET}),
            "INVALID_ARGUMENT",
        ),
        (CallError(grpc.StatusCode.UNAVAILABLE, SECRET, "", {}), "UNAVAILABLE"),
        (KeyboardInterrupt(SECRET), "CANCELLED"),
        (ValueError(SECRET), "CANCELLED"),
    ],
)
def test_every_error_is_one_to_a_client_and_none_says_more_than_its_code(
    application: Application, error: BaseException, code: str
) -> None:
    with pytest.raises(type(error)) as raised, application.tracing.call(METHOD):
        raise error
    assert raised.value is error
    (span,) = application.spans
    attributes = dict(span.attributes or {})
    assert (attributes["rpc.response.status_code"], attributes["error.type"]) == (code, code)
    assert not span.status.is_ok
    assert SECRET not in span.to_json()


def test_who_takes_no_more_answers_of_a_stream_has_cancelled_it(application: Application) -> None:
    def answers() -> Iterator[int]:
        with application.tracing.call(METHOD):
            yield from range(9)

    stream = answers()
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]  # a generator
    (span,) = application.spans
    assert (span.attributes or {})["rpc.response.status_code"] == "CANCELLED"


def test_the_server_is_told_not_to_trace_what_is_not_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    application = Application(monkeypatch, sampler=ALWAYS_OFF)
    ((_, value),) = application.call()
    assert not is_sampled(value)
    assert application.spans == ()


def test_calls_that_are_traced_are_made_one_by_one(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChurnClient("127.0.0.1:1") as client:
        monkeypatch.setattr(client._coalescer, "ask", never)
        for _ in range(2):
            with pytest.raises(CallError):
                client.predict("c1", {}, deadline=0.01)
    assert [span.name for span in application.spans] == [METHOD, METHOD]


def never(*_: object) -> NoReturn:
    raise AssertionError("a call was put together with others")


def test_without_a_provider_nothing_is_traced() -> None:
    tracing = CallTracing("churn:50051")
    with tracing.call(METHOD) as metadata:
        assert metadata == ()
    assert not tracing.is_on


def test_whoever_does_not_use_opentelemetry_does_not_import_it() -> None:
    script = (
        "import sys; from services.client import ChurnClient; client = ChurnClient('localhost:1')\n"
        "with client._tracing.call('/s/m') as metadata: assert metadata == ()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    path = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos'}"}
    assert subprocess.run([sys.executable, "-c", script], env=path, check=False).returncode == 0


@pytest.mark.parametrize(
    ("target", "address", "port"),
    [
        ("churn:50051", "churn", 50051),
        ("127.0.0.1:50051", "127.0.0.1", 50051),
        ("[::1]:50051", "::1", 50051),
        ("dns:///churn.shop.svc:50051", "churn.shop.svc", 50051),
        ("dns:churn:50051", "churn", 50051),
        ("dns://10.0.0.10/churn:50051", "churn", 50051),
        ("ipv4:10.0.0.1:50051", "10.0.0.1", 50051),
        ("ipv6:[fe80::1]:50051", "fe80::1", 50051),
        ("churn", "churn", None),
        ("unix:/run/churn.sock", "unix:/run/churn.sock", None),
        ("xds:///churn", "xds:///churn", None),
        ("", "", None),
    ],
)
def test_a_target_is_an_address_and_a_port(target: str, address: str, port: int | None) -> None:
    server = _server_of(target)
    assert (server["server.address"], server.get("server.port")) == (address, port)
