"""Traces of a real client and of real servers, as a collector gets them; and servers whose collector is in trouble."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from regulars.open_inference.v2 import open_inference_pb2, open_inference_pb2_grpc
from tests.support.bundles import columns, release_bundle
from tests.support.calls import predict
from tests.support.collector import Collector, SeenSpan, collecting
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import REPOSITORY, SERVER, SUPERVISOR, ServerProcess, running
from tests.support.traced_client import SECRETS, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = columns((10, 2, "web"))
METHOD = "regulars.churn.v1.ChurnService/PredictChurn"
BATCH = "regulars.churn.v1.ChurnService/BatchPredictChurn"
STREAM = "regulars.churn.v1.ChurnService/StreamPredictChurn"
CALLS = 20


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    release_bundle(tmp_path, "7")
    return tmp_path


@contextmanager
def shop(port: int, collector: Collector) -> Iterator[subprocess.Popen[str]]:
    """The application of `tests.support.traced_client`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.traced_client", str(port)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'protos'}", **collector.variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def go_round(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "scored\n"


def of_a_server(span: SeenSpan) -> bool:
    return "regulars.model" in span.process


def linked(children: list[SeenSpan], parents: list[SeenSpan]) -> bool:
    """Whether each of them is the child of another of those, in its trace."""
    ids = {(parent.span.trace_id, parent.span.span_id) for parent in parents}
    return len(ids) == len(children) and {(span.span.trace_id, span.span.parent_span_id) for span in children} == ids


def test_what_a_client_does_and_what_two_workers_do_for_it_is_one_trace(bundles: Path) -> None:
    with (
        collecting() as collector,
        running(bundles, command=SUPERVISOR, workers=2, log_level="DEBUG", environment=collector.variables) as server,
        shop(server.port, collector) as process,
    ):
        server.wait_for("listening", 2)

        def both_workers_scored() -> bool:
            go_round(process)
            return len({span.process["process.pid"] for span in collector.spans if of_a_server(span)}) == 2

        eventually(both_workers_scored, "calls on both workers")
        server.terminate()
        assert server.wait() == 0
    servers = [span for span in collector.spans if of_a_server(span)]
    clients = [span for span in collector.spans if not of_a_server(span)]
    rounds = sum(span.span.name == "shop" for span in clients)
    for method, calls in ((METHOD, 2), (BATCH, 1), (STREAM, 1)):
        answered = [span for span in servers if span.span.name == method]
        assert len(answered) == calls * rounds
        assert linked(answered, [span for span in clients if span.span.name == method])
    assert len({span.span.trace_id for span in servers}) == rounds
    tables = [span for span in servers if span.span.name == "table"]
    assert len(tables) == TABLES * rounds
    logged = [{"trace_id": line["trace_id"], "span_id": line["span_id"]} for line in server.events("call")]
    assert sorted(logged, key=str) == sorted((span.ids for span in servers if span.span.name != "table"), key=str)
    assert_told(servers)
    sent = b"".join(request.SerializeToString() for request in collector.requests)
    assert METHOD.encode() in sent
    assert [secret for secret in SECRETS if secret in sent] == []


def assert_told(servers: list[SeenSpan]) -> None:
    """What a trace says of a call that succeeds, of one that is refused, and of a stream's tables."""
    calls = {span.attributes["rpc.response.status_code"]: span for span in servers if span.span.name == METHOD}
    one, refused = calls["OK"], calls["INVALID_ARGUMENT"]
    assert one.process["service.name"] == "regulars-churn"
    assert one.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
        "regulars.lane": "interactive",
        "regulars.version": "7",
        "regulars.rows": 1,
    }
    assert list(one.events) == ["queue", "decode", "run", "encode"]
    assert refused.attributes["regulars.reason"] == "INVALID_CUSTOMERS"
    stream = next(span for span in servers if span.span.name == STREAM)
    assert (stream.attributes["regulars.tables"], stream.attributes["regulars.rows"]) == (TABLES, 2 * TABLES)
    table = next(span for span in servers if span.span.parent_span_id == stream.span.span_id)
    assert table.attributes == {"regulars.table": 0, "regulars.version": "7", "regulars.rows": 2}
    assert list(table.events) == ["decode", "run", "encode"]


def score(server: ServerProcess, calls: int = CALLS) -> None:
    with server.channel() as channel:
        for _ in range(calls):
            predict(channel, GOOD)


def complaints(server: ServerProcess) -> list[str]:
    """What the server says of its collector. All that it says is JSON."""
    assert [line for line in server.lines if not line.startswith("{")] == []
    return [line["what"] for line in server.events("spans may be lost")]


def test_calls_need_no_collector_and_its_absence_is_said_once(bundles: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        absent = f"http://127.0.0.1:{gone.getsockname()[1]}"
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": absent,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.05",
        "OTEL_BSP_SCHEDULE_DELAY": "10",
    }
    with running(bundles, environment=variables) as server:
        score(server)
        server.wait_for("spans may be lost")
        score(server)
        server.terminate()
        assert server.wait() == 0
    said = complaints(server)
    assert 1 <= len(said) <= 2
    assert all(absent.removeprefix("http://") in what for what in said)


def test_a_collector_that_hangs_holds_up_neither_calls_nor_the_drain(bundles: Path) -> None:
    with collecting(hangs=True) as collector, running(bundles, environment=collector.variables) as server:
        score(server)
        assert collector.asked.wait(PATIENCE_SECONDS)
        score(server)
        server.terminate()
        assert server.wait() == 0
    assert server.events("spans are lost: the collector did not take them in time")


def test_with_no_grace_left_nothing_waits_for_spans(bundles: Path) -> None:
    with (
        collecting(hangs=True) as collector,
        running(bundles, environment=collector.variables, grace_seconds=0) as server,
    ):
        score(server)
        server.terminate()
        assert server.wait() == 0


def test_calls_outlive_their_collector(bundles: Path) -> None:
    with ExitStack() as life:
        collector = life.enter_context(collecting())
        with running(bundles, environment={**collector.variables, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"}) as server:
            score(server)
            collector.wait_for(CALLS)
            life.close()
            score(server)
            server.wait_for("spans may be lost")
            score(server)
            server.terminate()
            assert server.wait() == 0


def test_the_last_spans_leave_before_the_server_does(bundles: Path) -> None:
    with collecting() as collector:
        never = {**collector.variables, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        with running(bundles, environment=never) as server:
            score(server)
            assert collector.spans == []
            server.terminate()
            assert server.wait() == 0
        assert len(collector.spans) == CALLS


def test_the_sampler_of_the_environment_decides_which_calls_are_traced(bundles: Path) -> None:
    with collecting() as collector:
        variables = {**collector.variables, "OTEL_TRACES_SAMPLER": "always_off"}
        with running(bundles, environment=variables, log_level="DEBUG") as server:
            score(server)
            server.terminate()
            assert server.wait() == 0
        assert collector.spans == []
    assert len(server.events("call")) == CALLS
    assert [line for line in server.events("call") if "trace_id" in line] == []


def test_probes_and_reflection_are_not_traced(bundles: Path) -> None:
    with collecting() as collector:
        with running(bundles, environment=collector.variables) as server, server.channel() as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            probes = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert probes.ServerReady(open_inference_pb2.ServerReadyRequest(), timeout=PATIENCE_SECONDS).ready
            listing = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
            assert len(list(reflection.ServerReflectionInfo(listing, timeout=PATIENCE_SECONDS))) == 1
            score(server, 1)
            server.terminate()
            assert server.wait() == 0
        assert [span.span.name for span in collector.spans] == [METHOD]


@pytest.mark.parametrize("command", [SERVER, SUPERVISOR], ids=["server", "supervisor"])
def test_tracing_that_cannot_be_had_is_said_at_the_start(bundles: Path, command: tuple[str, ...]) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "console"}
    with (
        pytest.raises(AssertionError, match=r"(?s)the server ended with 1.*OTEL_TRACES_EXPORTER is console"),
        running(bundles, command=command, environment=variables),
    ):
        pass


@pytest.mark.parametrize(
    ("variables", "imported"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
    ],
)
def test_without_tracing_nothing_of_opentelemetry_is_imported(
    bundles: Path, variables: dict[str, str], *, imported: bool
) -> None:
    with running(bundles, command=("-X", "importtime", *SERVER), environment=variables) as server:
        score(server, 1)
        server.terminate()
        assert server.wait() == 0
    assert ("opentelemetry" in server.text()) is imported
