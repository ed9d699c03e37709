"""The Open Inference Protocol of a real server process, by bare stubs: the same bits, the same errors, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from model_registry.schema import Status
from regulars.open_inference.v2 import open_inference_pb2
from regulars.open_inference.v2.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.support.bundles import (
    BREAKING,
    SAMPLES,
    SLOW_ABOVE,
    awkward_graph,
    columns,
    probability,
    random_columns,
    release_bundle,
)
from tests.support.calls import failure_of, predict_batch, table_of
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.scores import bits
from tests.support.served import Served, serving
from tests.support.server import ServerProcess, running
from tests.support.tensors import answers_of, infer, inputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regulars.open_inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse

SERVICE = "inference.GRPCInferenceService"
MAX_ROWS = 2500
CUSTOMERS = 1200
"""More than one slice."""

PLACES = 2
"""A call leaves its place a moment after its answer, so that the next may find one taken."""

GOOD = columns((10, 2, "web"))
SLICES_OF_A_LIFETIME = columns(*[(10, SLOW_ABOVE + 400_000, "web")] * MAX_ROWS)
"""Seconds of work, but under one beyond the slice after the caller has gone."""

forms = pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])


@pytest.fixture(scope="module", params=SAMPLES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(request.param, tmp_path_factory.mktemp("bundles")) as served:
        yield served


def ask(channel: grpc.Channel, request: ModelInferRequest, timeout: float = PATIENCE_SECONDS) -> ModelInferResponse:
    return GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=timeout)


@forms
def test_customers_get_the_bits_of_the_models_own_service(served: Served, raw: bool) -> None:
    everybody = random_columns(CUSTOMERS, seed=3)
    everybody.numeric[:, 0] = np.clip(everybody.numeric[:, 0], -3, 95)
    everybody.numeric[:, 1] = (everybody.numeric[:, 1] - 30) / 8
    batch = served.client.batch_predict(table_of(everybody))
    typed = served.client.columns(next(value for _, value in batch.ListFields() if hasattr(value, "statuses")))
    scores = served.servable.score(everybody)
    assert CUSTOMERS / 4 < (scores.statuses == Status.OK).sum() < CUSTOMERS

    with served.server.channel() as channel:
        response = ask(channel, infer(inputs_of(everybody), raw=raw, model_name=served.model, id="31"))
    assert (response.model_name, response.model_version, response.id) == (served.model, "7", "31")
    answers = answers_of(response)
    assert answers.pop("status") == typed["status"].tolist()
    for output in served.servable.schema.outputs:
        given = answers.pop(output.name)
        assert isinstance(given, np.ndarray)
        assert (bits(given) == bits(scores.values[output.name])).all(), output.name
        # Whole numbers are integers there, and 0 where nobody was scored.
        whole = np.nan_to_num(given) if typed[output.name].dtype.kind == "i" else given
        assert (bits(whole) == bits(typed[output.name].astype(np.float32))).all(), output.name
        if output.reference:
            percentiles = answers.pop(f"{output.name}.percentile")
            assert isinstance(percentiles, np.ndarray)
            assert (bits(percentiles) == bits(scores.percentiles[output.name])).all()
        if output.bands:
            names = [band.name for band in output.bands]
            bands = [names[band] if band >= 0 else "" for band in scores.bands[output.name].tolist()]
            assert answers.pop(f"{output.name}.band") == bands
    assert answers == {}


def test_a_customer_alone_gets_the_bits_of_the_table(served: Served) -> None:
    everybody = random_columns(20, seed=5)
    with served.server.channel() as channel:
        together = answers_of(ask(channel, infer(inputs_of(everybody), raw=True, model_name=served.model)))
        for row in range(len(everybody)):
            one = everybody.slice(row, row + 1)
            alone = answers_of(ask(channel, infer(inputs_of(one), raw=True, model_name=served.model)))
            for name, values in together.items():
                if isinstance(values, np.ndarray):
                    assert alone[name].tobytes() == values[row : row + 1].tobytes(), name  # type: ignore[union-attr]  # both are arrays
                else:
                    assert alone[name] == values[row : row + 1], name


def test_the_model_lists_the_tensors_that_it_takes_and_gives(served: Served) -> None:
    with served.server.channel() as channel:
        stub = GRPCInferenceServiceStub(channel)
        request = open_inference_pb2.ModelMetadataRequest(name=served.model)
        metadata = stub.ModelMetadata(request, timeout=PATIENCE_SECONDS)
        answer = ask(channel, infer(inputs_of(GOOD), raw=True, model_name=served.model))
    assert (metadata.name, list(metadata.versions), metadata.platform) == (served.model, ["7"], "onnxruntime_onnx")
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        ("recency_days", "FP32", [-1]),
        ("frequency", "FP32", [-1]),
        ("channel", "BYTES", [-1]),
    ]
    assert [(tensor.name, tensor.datatype) for tensor in metadata.outputs] == [
        (tensor.name, tensor.datatype) for tensor in answer.outputs
    ]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Whose lane of tables has few places, over the awkward graph."""
    bundles = tmp_path_factory.mktemp("awkward")
    release_bundle(bundles, "7", model=awkward_graph())
    with running(bundles, max_rows=MAX_ROWS, batch_calls=PLACES, log_level="DEBUG") as server:
        yield server


@pytest.fixture
def channel(process: ServerProcess) -> Iterator[grpc.Channel]:
    """Every test ends with the proof that the server serves on."""
    with process.channel() as opened:
        yield opened
        eventually(lambda: process.metric("regulars_calls_in_flight") == 0, "calls to end")
        (given,) = answers_of(ask(opened, infer(inputs_of(GOOD), raw=True)))["churn_probability"]
        assert given == pytest.approx(probability(10, 2, "web"))


@forms
def test_what_does_not_fit_is_refused_by_its_path_with_a_text_that_says_it(channel: grpc.Channel, raw: bool) -> None:
    request = infer({**inputs_of(GOOD), "age": np.array([40], np.int64)}, raw=raw)
    failure = failure_of(lambda: ask(channel, request))
    assert (failure.code, failure.reason, failure.fields) == (
        "INVALID_ARGUMENT",
        "INVALID_CUSTOMERS",
        ["inputs[3].name"],
    )
    assert failure.text == 'inputs[3].name "age" is not a feature of this model'


def test_too_many_customers_are_refused_before_their_values_are_read(channel: grpc.Channel) -> None:
    request = infer(inputs_of(random_columns(MAX_ROWS + 1)), raw=True)
    failure = failure_of(lambda: ask(channel, request))
    assert (failure.code, failure.fields) == ("INVALID_ARGUMENT", ["inputs[0].shape"])


@pytest.mark.parametrize(
    ("name", "version", "resource"),
    [("chrn", "", ("model", "chrn")), ("churn", "8", ("model version", "8")), ("", "", ("model", ""))],
)
def test_an_unknown_model_or_version_is_not_found(
    channel: grpc.Channel, name: str, version: str, resource: tuple[str, str]
) -> None:
    stub = GRPCInferenceServiceStub(channel)
    metadata = open_inference_pb2.ModelMetadataRequest(name=name, version=version)
    calls: tuple[Callable[[], object], ...] = (
        lambda: ask(channel, infer(inputs_of(GOOD), raw=True, model_name=name, model_version=version)),
        lambda: stub.ModelMetadata(metadata, timeout=PATIENCE_SECONDS),
    )
    for call in calls:
        failure = failure_of(call)
        assert (failure.code, failure.reason) == ("NOT_FOUND", "UNKNOWN_MODEL")
        named = failure.detail(error_details_pb2.ResourceInfo())
        assert (named.resource_type, named.resource_name) == resource


def test_the_served_version_may_be_named(channel: grpc.Channel) -> None:
    assert ask(channel, infer(inputs_of(GOOD), raw=True, model_version="7")).model_version == "7"


def test_a_score_that_is_not_finite_is_internal(channel: grpc.Channel) -> None:
    unlucky = columns((10, 2, "web"), (10, BREAKING, "web"))
    failure = failure_of(lambda: ask(channel, infer(inputs_of(unlucky), raw=True)))
    assert (failure.code, failure.reason, failure.fields) == ("INTERNAL", "INTERNAL", [])


def test_bytes_that_are_no_message_are_internal(channel: grpc.Channel) -> None:
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer", lambda data: data, lambda data: data)
    failure = failure_of(lambda: call(b"\x0a\xffsecret", timeout=PATIENCE_SECONDS))
    assert (failure.code, failure.reason) == ("INTERNAL", "MALFORMED_MESSAGE")


@pytest.mark.parametrize("code", ["DeadlineExceeded", "Canceled"])
def test_work_that_nobody_waits_for_stops_at_the_next_slice(
    process: ServerProcess, channel: grpc.Channel, code: str
) -> None:
    ended = {"grpc_service": SERVICE, "grpc_method": "ModelInfer", "grpc_code": code}
    before, rows = process.metric("grpc_server_handled_total", **ended), process.metric("regulars_rows_total")
    waiting = start(channel, SLICES_OF_A_LIFETIME, 0.5 if code == "DeadlineExceeded" else PATIENCE_SECONDS)
    if code == "Canceled":
        eventually(lambda: process.metric("regulars_calls_in_flight", lane="batch") == 1, "the call")
        waiting.cancel()
    with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
        waiting.result()
    eventually(lambda: process.metric("grpc_server_handled_total", **ended) == before + 1, "its end")
    assert process.metric("regulars_rows_total") == rows


def start(channel: grpc.Channel, customers: Any, timeout: float) -> Any:
    call = channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        open_inference_pb2.ModelInferRequest.SerializeToString,
        open_inference_pb2.ModelInferResponse.FromString,
    )
    return call.future(infer(inputs_of(customers), raw=True), timeout=timeout)


def test_a_full_lane_refuses_tables_of_either_form_and_no_probe(process: ServerProcess, channel: grpc.Channel) -> None:
    with process.channel() as other:
        staying = [start(other, SLICES_OF_A_LIFETIME, PATIENCE_SECONDS) for _ in range(PLACES)]
        eventually(lambda: process.metric("regulars_calls_in_flight", lane="batch") == PLACES, "the slow calls")
        for call in (
            lambda: ask(channel, infer(inputs_of(GOOD), raw=True)),
            lambda: predict_batch(channel, table_of(GOOD)),
        ):
            failure = failure_of(call)
            assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "SATURATED")
        assert probes(channel) == (True, True, True)
        assert not any(slow.done() for slow in staying)
        for slow in staying:
            slow.cancel()


def probes(channel: grpc.Channel, version: str = "") -> tuple[bool, bool, bool]:
    """Live, ready, and whether churn is, in that version."""
    stub = GRPCInferenceServiceStub(channel)
    model = open_inference_pb2.ModelReadyRequest(name="churn", version=version)
    return (
        stub.ServerLive(open_inference_pb2.ServerLiveRequest(), timeout=PATIENCE_SECONDS).live,
        stub.ServerReady(open_inference_pb2.ServerReadyRequest(), timeout=PATIENCE_SECONDS).ready,
        stub.ModelReady(model, timeout=PATIENCE_SECONDS).ready,
    )


def test_what_is_not_served_is_not_ready(channel: grpc.Channel) -> None:
    assert probes(channel, "7") == (True, True, True)
    assert probes(channel, "8") == (True, True, False)
    stub = GRPCInferenceServiceStub(channel)
    for name in ("propensity", ""):
        request = open_inference_pb2.ModelReadyRequest(name=name)
        assert not stub.ModelReady(request, timeout=PATIENCE_SECONDS).ready


def test_the_server_names_itself_and_health_knows_the_service(channel: grpc.Channel) -> None:
    request = open_inference_pb2.ServerMetadataRequest()
    metadata = GRPCInferenceServiceStub(channel).ServerMetadata(request, timeout=PATIENCE_SECONDS)
    assert (metadata.name, list(metadata.extensions)) == ("regulars", [])
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_server_is_ready_from_its_first_release_to_its_end(tmp_path: Path) -> None:
    with running(tmp_path, drain_pause_seconds=2) as server, server.channel() as channel:
        assert probes(channel) == (True, False, False)
        failure = failure_of(lambda: ask(channel, infer(inputs_of(GOOD), raw=True)))
        assert (failure.code, failure.reason) == ("UNAVAILABLE", "NO_MODEL_LOADED")
        release_bundle(tmp_path, "1")
        eventually(lambda: probes(channel)[1], "the server to be ready")
        assert probes(channel, "1") == (True, True, True)
        assert ask(channel, infer(inputs_of(GOOD), raw=True)).model_version == "1"
        server.terminate()
        server.wait_for("draining")
        # Calls are still taken while endpoints learn that it drains.
        assert probes(channel) == (True, False, False)
        assert ask(channel, infer(inputs_of(GOOD), raw=True)).model_version == "1"
        assert server.wait() == 0


def test_a_swap_moves_the_version_that_is_ready(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    with running(tmp_path) as server, server.channel() as channel:
        assert [probes(channel, version)[2] for version in ("", "1", "2")] == [True, True, False]
        release_bundle(tmp_path, "2", weight=0.02)
        eventually(lambda: probes(channel, "2")[2], "version 2")
        assert [probes(channel, version)[2] for version in ("", "1")] == [True, False]
        versions = {ask(channel, infer(inputs_of(GOOD), raw=raw)).model_version for raw in (True, False)}
        assert versions == {"2"}
        gone = infer(inputs_of(GOOD), raw=True, model_version="1")
        assert failure_of(lambda: ask(channel, gone)).code == "NOT_FOUND"
