"""A real server process, met as a caller meets it: every row of the status table, and the laws of the answers."""

from __future__ import annotations

import itertools
import queue
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from model_registry.bundle import read_bundle
from model_registry.servable import Servable
from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.core.server import REFLECTION_CALLS
from tests.support.bundles import (
    BREAKING,
    SCHEMA,
    SLOW_ABOVE,
    awkward_graph,
    columns,
    probability,
    random_columns,
    release_bundle,
    release_forest,
)
from tests.support.calls import Failure, OpenStream, customer_of, failure_of, predict, predict_batch, table_of, unpack
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.scores import bits
from tests.support.server import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_ROWS = 10_000
MAX_BYTES = 500_000
NAN = float("nan")
INF = float("inf")

CHURN = "regulars.churn.v1.ChurnService"
MODEL = "regulars.scoring.v1.ModelService"

GOOD = columns((10, 2, "web"))
TURNS_OF_A_SLICE = 200_000
"""Under half a second: what a caller who has gone leaves behind at most."""


class Served:
    """A server whose lanes have one place each, over the awkward graph."""

    def __init__(self, server: ServerProcess, channel: grpc.Channel) -> None:
        self.server = server
        self.channel = channel

    def assert_serving(self) -> None:
        answer = predict(self.channel, GOOD)
        assert answer.prediction.churn_probability == pytest.approx(probability(10, 2, "web"))

    def in_flight(self, lane: str) -> float:
        return self.server.metric("regulars_calls_in_flight", lane=lane)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    bundles = tmp_path_factory.mktemp("bundles")
    release_bundle(bundles, "7", model=awkward_graph())
    with running(
        bundles,
        max_rows=MAX_ROWS,
        max_message_bytes=MAX_BYTES,
        interactive_calls=1,
        batch_calls=1,
        bulk_calls=1,
        log_level="DEBUG",
    ) as server:
        yield server


@pytest.fixture
def served(process: ServerProcess) -> Iterator[Served]:
    """Every test ends with the proof that the server serves on."""
    with process.channel() as channel:
        serving = Served(process, channel)
        yield serving
        eventually(lambda: process.metric("regulars_calls_in_flight") == 0, "calls to end")
        serving.assert_serving()


def table(rows: int = 2, **changes: list[float]) -> scoring_pb2.CustomerTable:
    numeric = {"recency_days": [1.0] * rows, "frequency": [2.0] * rows, **changes}
    return scoring_pb2.CustomerTable(
        ids=[f"c{row}" for row in range(rows)],
        numeric=[scoring_pb2.NumericColumn(name=name, values=values) for name, values in numeric.items()],
    )


def with_ids(*ids: str) -> scoring_pb2.CustomerTable:
    made = table(len(ids))
    made.ids[:] = ids
    return made


def customer(**features: float | str) -> scoring_pb2.Customer:
    made = scoring_pb2.Customer(id="c1", numeric={"recency_days": 1.0})
    for name, value in features.items():
        if isinstance(value, str):
            made.categorical[name] = value
        else:
            made.numeric[name] = value
    return made


INVALID_TABLES: dict[str, tuple[scoring_pb2.CustomerTable, list[str]]] = {
    "too many rows": (table(MAX_ROWS + 1), ["customers.ids"]),
    "empty batch": (table(0), ["customers.ids"]),
    "duplicate ids": (with_ids("a", "a"), ["customers.ids[1]"]),
    "empty id": (with_ids("a", ""), ["customers.ids[1]"]),
    "unequal lengths": (table(frequency=[1.0]), ["customers.numeric[1].values"]),
    "unknown feature": (table(age=[1.0, 2.0]), ["customers.numeric[2].name"]),
    "missing feature": (
        scoring_pb2.CustomerTable(ids=["a"]),
        ['customers.numeric["recency_days"]'],
    ),
    "wrong kind": (table(channel=[1.0, 2.0]), ["customers.numeric[2].name"]),
    "NaN where required": (table(recency_days=[1.0, NAN]), ['customers.numeric["recency_days"][1]']),
    "infinity": (table(frequency=[INF, 1.0]), ['customers.numeric["frequency"][0]']),
}


@pytest.mark.parametrize("case", INVALID_TABLES)
def test_a_batch_that_does_not_fit_is_refused_by_its_field(served: Served, case: str) -> None:
    request, fields = INVALID_TABLES[case]
    failure = failure_of(lambda: predict_batch(served.channel, request))
    assert (failure.code, failure.reason, failure.fields) == ("INVALID_ARGUMENT", "INVALID_CUSTOMERS", fields)


@pytest.mark.parametrize("case", INVALID_TABLES)
def test_a_bad_table_of_a_stream_is_answered_like_the_batch_and_the_stream_goes_on(served: Served, case: str) -> None:
    request, fields = INVALID_TABLES[case]
    stream = OpenStream(served.channel)
    answers = [stream.ask(1, table()), stream.ask(-7, request), stream.ask(3, table())]
    stream.end()
    assert list(stream.call) == []
    assert [answer.sequence for answer in answers] == [1, -7, 3]
    assert [answer.WhichOneof("result") for answer in answers] == ["predictions", "error", "predictions"]
    error = answers[1].error
    bad_request = unpack(error, error_details_pb2.BadRequest())
    assert [violation.field for violation in bad_request.field_violations] == fields
    as_batch = failure_of(lambda: predict_batch(served.channel, request))
    assert as_batch.status == error


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (customer(age=1), ['customer.numeric["age"]']),
        (customer(age="old"), ['customer.categorical["age"]']),
        (scoring_pb2.Customer(id="c1"), ['customer.numeric["recency_days"]']),
        (scoring_pb2.Customer(), ["customer.id", 'customer.numeric["recency_days"]']),
        (customer(channel=1), ['customer.numeric["channel"]']),
        (customer(frequency="1"), ['customer.categorical["frequency"]']),
        (customer(recency_days=NAN), ['customer.numeric["recency_days"]']),
        (customer(frequency=INF), ['customer.numeric["frequency"]']),
        (customer(frequency=1e39), ['customer.numeric["frequency"]']),
    ],
)
def test_a_customer_that_does_not_fit_is_refused_by_its_field(
    served: Served, request_: scoring_pb2.Customer, fields: list[str]
) -> None:
    call = served.channel.unary_unary(
        f"/{CHURN}/PredictChurn",
        churn_pb2.PredictChurnRequest.SerializeToString,
        churn_pb2.PredictChurnResponse.FromString,
    )
    failure = failure_of(lambda: call(churn_pb2.PredictChurnRequest(customer=request_), timeout=PATIENCE_SECONDS))
    assert (failure.code, failure.reason, failure.fields) == ("INVALID_ARGUMENT", "INVALID_CUSTOMERS", fields)


def raw(served: Served, method: str) -> Callable[[bytes], object]:
    """A method of which the caller writes the bytes."""
    call = served.channel.unary_unary(f"/{method}", lambda data: data, lambda data: data)
    return lambda data: call(data, timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize(
    "method",
    [
        *(f"{CHURN}/PredictChurn", f"{CHURN}/BatchPredictChurn", f"{MODEL}/GetModel"),
        *("grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"),
    ],
)
def test_bytes_that_are_no_message_are_internal_with_a_constant_text(served: Served, method: str) -> None:
    failure = failure_of(lambda: raw(served, method)(b"\x0a\xffsecret"))
    assert (failure.code, failure.reason) == ("INTERNAL", "MALFORMED_MESSAGE")
    assert failure.text == "The message is not the protobuf message that this method takes."


def test_a_message_over_the_limit_is_refused(served: Served) -> None:
    failure = failure_of(lambda: raw(served, f"{CHURN}/BatchPredictChurn")(b"\0" * (MAX_BYTES + 1)))
    assert (failure.code, failure.status) == ("RESOURCE_EXHAUSTED", None)


def test_an_unknown_method_is_unimplemented(served: Served) -> None:
    for method in (f"{CHURN}/ForetellChurn", "regulars.other.v1.OtherService/Predict"):
        failure = failure_of(partial(raw(served, method), b""))
        assert (failure.code, failure.status) == ("UNIMPLEMENTED", None)


def test_what_training_never_saw_is_scored_with_a_warning(served: Served) -> None:
    answer = predict(served.channel, columns((10, 60, "kiosk"))).prediction
    assert answer.status == scoring_pb2.SCORE_STATUS_OK
    assert answer.churn_probability == pytest.approx(probability(10, 60, "kiosk"))
    assert [(warning.kind, warning.feature) for warning in answer.warnings] == [
        (scoring_pb2.WARNING_KIND_OUT_OF_RANGE, "frequency"),
        (scoring_pb2.WARNING_KIND_UNSEEN_CATEGORY, "channel"),
    ]
    batch = predict_batch(served.channel, table_of(columns((10, 2, "web"), (10, 60, "web")))).predictions
    assert [(entry.warning.feature, list(entry.rows)) for entry in batch.warnings] == [("frequency", [1])]


def test_who_cannot_be_scored_gets_a_status_and_no_figures(served: Served) -> None:
    answer = predict(served.channel, columns((91, 1, "web"))).prediction
    assert answer.status == scoring_pb2.SCORE_STATUS_INACTIVE
    assert not answer.HasField("churn_probability")
    assert not answer.HasField("percentile")
    assert answer.risk_band == churn_pb2.RISK_BAND_UNSPECIFIED
    batch = predict_batch(served.channel, table_of(columns((91, 1, "web"), (-1, 1, "web"), (10, 2, "web")))).predictions
    assert list(batch.statuses) == [
        scoring_pb2.SCORE_STATUS_INACTIVE,
        scoring_pb2.SCORE_STATUS_INSUFFICIENT_HISTORY,
        scoring_pb2.SCORE_STATUS_OK,
    ]
    assert np.isnan(batch.churn_probabilities).tolist() == [True, True, False]
    assert np.isnan(batch.percentiles).tolist() == [True, True, False]
    assert list(batch.risk_bands) == [0, 0, churn_pb2.RISK_BAND_HIGH]


def test_an_answer_says_who_scored_whom_for_how_long(served: Served) -> None:
    answer = predict(served.channel, GOOD)
    version = answer.model_version
    assert (version.name, version.version, version.alias) == ("churn", "7", "champion")
    assert version.schema_digest == SCHEMA.digest
    assert answer.horizon_days == 30
    assert answer.prediction.customer_id == "c0"
    batch = predict_batch(served.channel, with_ids("x", "y"))
    assert batch.model_version == version
    assert list(batch.predictions.customer_ids) == ["x", "y"]


def test_a_score_that_is_not_finite_is_internal_without_trace_or_input(served: Served) -> None:
    unlucky = columns((10, 2, "web"), (10, BREAKING, "web"))
    failures = [
        failure_of(lambda: predict(served.channel, unlucky, 1)),
        failure_of(lambda: predict_batch(served.channel, table_of(unlucky))),
    ]
    for failure in failures:
        assert (failure.code, failure.reason) == ("INTERNAL", "INTERNAL")
        assert failure.text == "The server failed to score these customers."
        assert failure.fields == []
    stream = OpenStream(served.channel)
    assert stream.ask(1, table_of(unlucky)).error.code == grpc.StatusCode.INTERNAL.value[0]
    assert stream.ask(2, table()).HasField("predictions")
    stream.end()
    assert list(stream.call) == []


def slow_slices() -> churn_pb2.BatchPredictChurnRequest:
    """As many slices as a table may have, each slow: seconds, but not beyond the slice after the caller has gone."""
    turns = [SLOW_ABOVE + TURNS_OF_A_SLICE] * MAX_ROWS
    return churn_pb2.BatchPredictChurnRequest(customers=table(MAX_ROWS, frequency=turns))


def start_slow_batch(served: Served, channel: grpc.Channel) -> Any:
    call = channel.unary_unary(
        f"/{CHURN}/BatchPredictChurn",
        churn_pb2.BatchPredictChurnRequest.SerializeToString,
        churn_pb2.BatchPredictChurnResponse.FromString,
    )
    started = call.future(slow_slices(), timeout=PATIENCE_SECONDS)
    eventually(lambda: served.in_flight("batch") == 1, "the slow batch to be in flight")
    return started


def test_a_full_lane_refuses_and_says_when_to_come_back(served: Served) -> None:
    with served.server.channel() as other:
        staying = start_slow_batch(served, other)
        failure = failure_of(lambda: predict_batch(served.channel, table()))
        assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "SATURATED")
        assert failure.detail(error_details_pb2.RetryInfo()).retry_delay.nanos == 100_000_000
        assert 50 <= int(failure.trailers["grpc-retry-pushback-ms"]) <= 150
        # Load never fails a health check, and never closes the other lanes.
        assert check(served.channel, CHURN) == health_pb2.HealthCheckResponse.SERVING
        served.assert_serving()
        stream = OpenStream(served.channel)
        assert stream.ask(1, table()).HasField("predictions")
        bulk = failure_of(lambda: OpenStream(served.channel).ask(1, table()))
        assert (bulk.code, bulk.reason) == ("RESOURCE_EXHAUSTED", "SATURATED")
        stream.end()
        assert list(stream.call) == []
        assert not staying.done()
        staying.cancel()


def test_a_batch_that_nobody_waits_for_stops_at_the_next_slice(served: Served) -> None:
    method = {"grpc_method": "BatchPredictChurn", "grpc_code": "Canceled"}
    before = served.server.metric("grpc_server_handled_total", **method)
    rows = served.server.metric("regulars_rows_total")
    start_slow_batch(served, served.channel).cancel()
    eventually(lambda: served.server.metric("grpc_server_handled_total", **method) == before + 1, "its end")
    # The batch was never scored to its end.
    assert served.server.metric("regulars_rows_total") == rows


def test_a_batch_that_cannot_end_in_time_is_not_begun(served: Served) -> None:
    # From one slice the server knows how long a table takes.
    start_slow_batch(served, served.channel).cancel()
    eventually(lambda: served.in_flight("batch") == 0, "the end of its first slice")
    rows = served.server.metric("regulars_rows_total")
    stub = churn_pb2_grpc.ChurnServiceStub(served.channel)
    failure = failure_of(lambda: stub.BatchPredictChurn(slow_slices(), timeout=1.0))
    # The server's own answer, while the caller still waits.
    assert (failure.code, failure.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert served.server.metric("regulars_rows_total") == rows


def check(channel: grpc.Channel, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS).status)


def test_health_tells_by_service(served: Served) -> None:
    for service in ("", CHURN, MODEL):
        assert check(served.channel, service) == health_pb2.HealthCheckResponse.SERVING
    assert failure_of(lambda: check(served.channel, "regulars.other.v1.OtherService")).code == "NOT_FOUND"


def test_reflection_lists_the_services(served: Served) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE_SECONDS)
    assert {service.name for service in answer.list_services_response.service} == {
        CHURN,
        MODEL,
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=CHURN)
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE_SECONDS)
    assert answer.file_descriptor_response.file_descriptor_proto


def test_streams_of_reflection_take_no_threads_from_health_and_scoring(served: Served) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(served.channel)

    # More than the server has threads.
    requests: list[queue.SimpleQueue[reflection_pb2.ServerReflectionRequest | None]] = [
        queue.SimpleQueue() for _ in range(30)
    ]
    streams = [stub.ServerReflectionInfo(iter(opened.get, None), timeout=PATIENCE_SECONDS) for opened in requests]
    answered = 0
    for opened, stream in zip(requests, streams, strict=True):
        opened.put(reflection_pb2.ServerReflectionRequest(list_services=""))
        try:
            answered += bool(next(stream))
        except grpc.RpcError as error:
            refusal = Failure(error)
            assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "SATURATED")
    assert answered == REFLECTION_CALLS
    assert check(served.channel, "") == health_pb2.HealthCheckResponse.SERVING
    served.assert_serving()
    for opened in requests:
        opened.put(None)
    eventually(lambda: served.in_flight("reflection") == 0, "the streams to end")


def test_the_model_describes_itself(served: Served) -> None:
    stub = scoring_pb2_grpc.ModelServiceStub(served.channel)
    answer = stub.GetModel(scoring_pb2.GetModelRequest(), timeout=PATIENCE_SECONDS)
    model = answer.model
    assert answer.model_version.version == "7"
    assert [(entry.name, entry.kind, entry.nullable) for entry in model.inputs] == [
        ("recency_days", scoring_pb2.FEATURE_KIND_NUMERIC, False),
        ("frequency", scoring_pb2.FEATURE_KIND_NUMERIC, True),
        ("channel", scoring_pb2.FEATURE_KIND_CATEGORICAL, True),
    ]
    assert (model.inputs[0].unit, model.inputs[0].minimum, model.inputs[0].maximum) == ("days", 0.0, 90.0)
    assert not model.inputs[2].HasField("minimum")
    assert list(model.inputs[2].vocabulary) == ["shop", "web"]
    assert [(band.name, band.threshold) for band in model.outputs[0].bands] == [
        ("LOW", 0.0),
        ("MEDIUM", 0.25),
        ("HIGH", 0.5),
    ]
    assert [(rule.feature, rule.status, rule.HasField("minimum")) for rule in model.population] == [
        ("recency_days", scoring_pb2.SCORE_STATUS_INACTIVE, False),
        ("recency_days", scoring_pb2.SCORE_STATUS_INSUFFICIENT_HISTORY, True),
    ]
    assert model.horizon_days == 30
    assert model.training_window.test_snapshot == "2017-12-01"
    assert dict(model.metrics) == {"auc": 0.86}
    assert model.trained_at == "2018-01-01T00:00:00Z"
    assert (answer.limits.max_rows, answer.limits.max_message_bytes) == (MAX_ROWS, MAX_BYTES)


def test_the_metrics_page_has_the_names_that_dashboards_know(served: Served) -> None:
    failure_of(lambda: predict_batch(served.channel, table(0)))
    served.assert_serving()
    page = served.server.metrics()
    for name in (
        "grpc_server_started_total",
        "grpc_server_handled_total",
        "grpc_server_msg_received_total",
        "grpc_server_msg_sent_total",
        "grpc_server_handling_seconds_bucket",
        "regulars_rows_total",
        "regulars_calls_in_flight",
        "regulars_model_info",
        "regulars_model_served_since_seconds",
        "regulars_swaps_total",
    ):
        assert f"\n{name}{{" in page, name
    labels = f'{{grpc_code="InvalidArgument",grpc_method="BatchPredictChurn",grpc_service="{CHURN}",grpc_type="unary"}}'
    assert f"grpc_server_handled_total{labels}" in page
    assert 'grpc_code="OK"' in page


def test_the_log_is_json_and_holds_no_id_no_value_and_no_exception_text(served: Served) -> None:
    secret = columns((10, BREAKING, "whispered"))
    request = churn_pb2.PredictChurnRequest(customer=customer_of(secret, identifier="customer-4711"))
    data = request.SerializeToString()
    assert failure_of(lambda: raw(served, f"{CHURN}/PredictChurn")(data)).code == "INTERNAL"
    failure_of(lambda: raw(served, f"{CHURN}/PredictChurn")(b"\x0a\xffwhispered"))

    def logged() -> bool:
        calls = served.server.events("call")
        return any(line["method"] == f"/{CHURN}/PredictChurn" and line["code"] == "INTERNAL" for line in calls)

    eventually(logged, "the line of the call")
    assert served.server.events("a call failed")[-1]["exception"] == "ScoringError"
    assert all(line.startswith("{") for line in served.server.lines)
    for word in ("customer-4711", "whispered", "not finite"):
        assert word not in served.server.text()


def test_without_a_model_calls_are_unavailable_until_one_is_released(tmp_path: Path) -> None:
    with running(tmp_path) as server, server.channel() as channel:
        stub = scoring_pb2_grpc.ModelServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=CHURN), timeout=PATIENCE_SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for call in (
            lambda: predict(channel, GOOD),
            lambda: predict_batch(channel, table()),
            lambda: stub.GetModel(scoring_pb2.GetModelRequest(), timeout=PATIENCE_SECONDS),
        ):
            failure = failure_of(call)
            assert (failure.code, failure.reason) == ("UNAVAILABLE", "NO_MODEL_LOADED")
            assert failure.detail(error_details_pb2.RetryInfo()).retry_delay.seconds == 1
        release_bundle(tmp_path, "1")
        # SERVING is said after it is true: the first call after it succeeds.
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert predict(channel, GOOD).model_version.version == "1"


def test_the_same_customer_gets_the_same_bits_by_row_batch_stream_and_offline(tmp_path: Path) -> None:
    release = release_forest(tmp_path, "1")
    everybody = random_columns(400, seed=3)
    everybody.numeric[:, 0] = np.clip(everybody.numeric[:, 0], -3, 95)
    offline = Servable(read_bundle(tmp_path / "churn" / release.digest)).score(everybody)
    with running(tmp_path) as server, server.channel() as channel:
        batch = predict_batch(channel, table_of(everybody)).predictions
        stream = OpenStream(channel)
        edges = [0, 1, 8, 150, 400]
        chunks = [
            stream.ask(at, table_of(everybody.slice(*edge))).predictions
            for at, edge in enumerate(itertools.pairwise(edges))
        ]
        stream.end()
        rows = [predict(channel, everybody, row).prediction for row in range(400)]
    name = "churn_probability"
    scored = offline.statuses == scoring_pb2.SCORE_STATUS_OK
    assert 100 < scored.sum() < 400

    def same(floats: list[float], expected: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
        given = np.array(floats, np.float32)
        return bool((bits(given)[scored] == bits(expected)[scored]).all() and np.isnan(given[~scored]).all())

    assert same(list(batch.churn_probabilities), offline.values[name])
    assert same([value for chunk in chunks for value in chunk.churn_probabilities], offline.values[name])
    assert same(
        [row.churn_probability if row.HasField("churn_probability") else NAN for row in rows], offline.values[name]
    )
    assert same(list(batch.percentiles), offline.percentiles[name])
    assert same([value for chunk in chunks for value in chunk.percentiles], offline.percentiles[name])
    assert same([row.percentile if row.HasField("percentile") else NAN for row in rows], offline.percentiles[name])
    bands = (offline.bands[name] + 1).tolist()
    assert list(batch.risk_bands) == [band for chunk in chunks for band in chunk.risk_bands] == bands
    assert [row.risk_band for row in rows] == bands
    statuses = offline.statuses.tolist()
    assert list(batch.statuses) == [row.status for row in rows] == statuses
    warned = {(entry.warning.kind, entry.warning.feature, row) for entry in batch.warnings for row in entry.rows}
    assert warned == {(entry.kind, entry.feature, at) for at, row in enumerate(rows) for entry in row.warnings}
