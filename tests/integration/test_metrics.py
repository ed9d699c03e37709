"""The page of real servers: what stands on it, what calls add to it, and what it says of several workers."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from services.client import load_client
from services.core.inline import SMALL_BYTES
from services.core.metrics import FAMILIES, SAMPLE, STAGES
from tests.support.bundles import SAMPLES, SLOW_ABOVE, awkward_graph, columns, random_columns, release_bundle
from tests.support.calls import OpenStream, customer_of, failure_of, predict, predict_batch, table_of
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import SUPERVISOR, ServerProcess, running, server_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHURN = "regulars.churn.v1.ChurnService"
GOOD = columns((10, 2, "web"))
SLOW = columns((10, SLOW_ABOVE + 20_000_000, "web"))
"""Some ten seconds."""

WORKERS = 2


class Page:
    """A page, parsed as Prometheus does."""

    def __init__(self, server: ServerProcess) -> None:
        self.families = {
            # The parser cuts the suffix off.
            f"{family.name}_total" if family.type == "counter" else family.name: family
            for family in text_string_to_metric_families(server.metrics())
        }
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of every series of that name with those labels."""
        found = [one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items()]
        assert found, f"{name} with {labels} is not on the page"
        return sum(found)

    def stages(self, method: str) -> dict[str, float]:
        return {
            stage: self.value("regulars_stage_seconds_count", grpc_method=method, grpc_service=CHURN, stage=stage)
            for stage in STAGES
        }


@pytest.mark.parametrize("model", SAMPLES)
def test_the_page_has_what_is_documented_and_nothing_else_of_ours(model: str, tmp_path: Path) -> None:
    SAMPLES[model].release(tmp_path, "1")
    everybody = random_columns(50, seed=1)
    everybody.numeric[:, 0] = everybody.numeric[:, 0].clip(0, 95)
    with (
        running(tmp_path, command=server_of(model)) as server,
        load_client(model)(f"127.0.0.1:{server.port}") as client,
    ):
        before = Page(server)
        client.batch_predict(table_of(everybody))
        list(client.stream_predict([table_of(everybody)] * 2))
        after = Page(server)
    documented = {family.name: family for family in FAMILIES}
    ours = {name: family for name, family in after.families.items() if name.startswith(("grpc_", "regulars_"))}
    assert ours.keys() == documented.keys()
    for name, family in ours.items():
        assert family.type == documented[name].kind
        assert family.documentation == documented[name].meaning
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(documented[name].labels), sample
    # No call brings a series: what it adds to has been there, at 0.
    assert [series_of(page) for page in (before, after)] == [series_of(after)] * 2


def series_of(page: Page) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(sample.name, frozenset(sample.labels.items())) for sample in page.samples}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    release_bundle(tmp_path, "1", model=awkward_graph())
    with running(tmp_path, log_level="DEBUG") as process:
        yield process


def test_stages_are_timed_of_one_single_customer_in_so_many_and_of_every_table(server: ServerProcess) -> None:
    with server.channel() as channel:
        for _ in range(SAMPLE + 1):
            predict(channel, GOOD)
        for _ in range(3):
            predict_batch(channel, table_of(GOOD))
        stream = OpenStream(channel)
        for sequence in range(5):
            stream.ask(sequence, table_of(GOOD))
        stream.end()
        assert list(stream.call) == []
    page = Page(server)
    assert page.stages("PredictChurn") == dict.fromkeys(STAGES, 2)
    assert page.stages("BatchPredictChurn") == dict.fromkeys(STAGES, 3)
    # It waited once, as a call.
    assert page.stages("StreamPredictChurn") == {"queue": 1, "decode": 5, "run": 5, "encode": 5}
    assert page.value("regulars_rows_total", status="ok") == SAMPLE + 1 + 3 + 5


def test_a_call_that_is_refused_is_timed_as_far_as_it_came(server: ServerProcess) -> None:
    with server.channel() as channel:
        assert failure_of(lambda: predict_batch(channel, table_of(columns()))).code == "INVALID_ARGUMENT"
    assert Page(server).stages("BatchPredictChurn") == {"queue": 1, "decode": 1, "run": 0, "encode": 0}


def test_every_call_is_one_line_at_debug(server: ServerProcess) -> None:
    with server.channel() as channel:
        predict(channel, GOOD)
        failure_of(lambda: predict_batch(channel, table_of(columns())))
        stream = OpenStream(channel)
        stream.ask(1, table_of(GOOD))
        stream.end()
        assert list(stream.call) == []
    lines = eventually(lambda: of_three(server), "the lines of three calls")
    assert sorted((line["method"], line["code"]) for line in lines) == [
        (f"/{CHURN}/BatchPredictChurn", "INVALID_ARGUMENT"),
        (f"/{CHURN}/PredictChurn", "OK"),
        (f"/{CHURN}/StreamPredictChurn", "OK"),
    ]
    for line in lines:
        assert line.keys() == {"time", "level", "logger", "event", "method", "code", "seconds"}
        assert line["level"] == "debug"


def of_three(server: ServerProcess) -> list[dict[str, str]] | None:
    lines = server.events("call")
    return lines if len(lines) >= 3 else None


def test_at_info_calls_leave_no_line_and_the_life_of_the_server_does(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    with running(tmp_path) as server:
        with server.channel() as channel:
            predict(channel, GOOD)
            failure_of(lambda: predict_batch(channel, table_of(columns())))
        server.terminate()
        assert server.wait() == 0
        assert server.events("call") == []
        for event in ("serving", "listening", "draining", "stopped"):
            (line,) = server.events(event)
            assert line["level"] == "info"


def test_two_workers_are_summed_and_the_dead_take_their_gauges_along(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1", model=awkward_graph())
    with running(tmp_path, command=SUPERVISOR, workers=WORKERS) as server:
        server.wait_for("listening", WORKERS)
        calls = call_both(server)
        page = Page(server)
        # Each worker has timed the first of its calls, and one in so many of the others.
        timed = page.stages("PredictChurn")
        assert len(set(timed.values())) == 1
        assert calls / SAMPLE <= timed["run"] <= calls / SAMPLE + WORKERS
        assert counted(page) == {calls}
        gauges = {"regulars_model_info": 1.0, "regulars_model_trained_at_seconds": 1514764800.0}
        assert {name: page.value(name, model="churn") for name in gauges} == gauges
        since = page.value("regulars_model_served_since_seconds")

        with slow_calls(server, 2):
            for worker in workers_of(server):
                worker.kill()
        server.wait_for("listening", 2 * WORKERS)
        page = Page(server)
        # They had two calls in flight. Their heirs have none, and say themselves what they serve.
        assert page.value("regulars_calls_in_flight", lane="interactive") == 0
        assert {name: page.value(name, model="churn") for name in gauges} == gauges
        assert page.value("regulars_model_served_since_seconds") > since
        assert counted(page) == {calls}
        assert page.stages("PredictChurn")["run"] == timed["run"]
        calls += call_both(server)
        assert counted(Page(server)) == {calls}


EACH_CALL: tuple[tuple[str, dict[str, str]], ...] = (
    ("grpc_server_handled_total", {"grpc_method": "PredictChurn", "grpc_code": "OK"}),
    ("grpc_server_handling_seconds_count", {"grpc_method": "PredictChurn"}),
    ("regulars_rows_total", {"status": "ok"}),
    ("regulars_scores_total", {"output": "churn_probability", "decile": "10", "band": "HIGH"}),
    ("regulars_missing_total", {"feature": "channel"}),
    ("regulars_warnings_total", {"feature": "frequency"}),
)
"""What every call of `call_both` adds one to."""


def counted(page: Page) -> set[float]:
    return {page.value(name, **labels) for name, labels in EACH_CALL}


def call_both(server: ServerProcess) -> int:
    """Calls until each worker has answered, over connections that the kernel spreads; returns how often it called."""
    with ExitStack() as open_channels:
        for calls in itertools.count(1):
            predict(open_channels.enter_context(server.channel()), columns((10, 60, "")))
            if calls > SAMPLE and all(is_connected(worker) for worker in workers_of(server)):
                return calls
    raise AssertionError


@contextmanager
def slow_calls(server: ServerProcess, count: int) -> Iterator[None]:
    """So many calls in flight."""
    request = churn_pb2.PredictChurnRequest(customer=customer_of(SLOW))
    # Too large for gRPC's own loop, which would read nothing else meanwhile.
    request.customer.id = "x" * SMALL_BYTES
    with server.channel() as channel:
        stub = churn_pb2_grpc.ChurnServiceStub(channel)
        calls = [stub.PredictChurn.future(request, timeout=PATIENCE_SECONDS) for _ in range(count)]
        eventually(lambda: Page(server).value("regulars_calls_in_flight", lane="interactive") == count, "slow calls")
        yield
        assert [code_of(call) for call in calls] == ["UNAVAILABLE"] * count


def code_of(call: Any) -> str:
    name: str = call.code().name
    return name


def workers_of(server: ServerProcess) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def is_connected(worker: psutil.Process) -> bool:
    return any(connection.status == psutil.CONN_ESTABLISHED for connection in worker.net_connections("tcp"))
