"""The server of every model as a process of its own: it serves what is released, and every way in gives the same."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from regulars.scoring.v1 import scoring_pb2
from services.client import CallError
from services.methods import methods_of
from tests.support.bundles import SAMPLES, SCHEMA, random_columns
from tests.support.calls import features_of, table_of
from tests.support.polling import PATIENCE_SECONDS
from tests.support.served import Served, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

    from model_registry.columns import Columns

    Features = dict[str, float | str | None]

CUSTOMERS = 300
ASKED: tuple[Callable[[Features], Features], ...] = (
    lambda features: features,
    lambda features: {name: value for name, value in features.items() if value is not None},
    lambda features: dict(reversed(features.items())),
    lambda features: {**features, "frequency": None, "nobody's": None},
    lambda features: {**features, "recency_days": np.float64(features["recency_days"] or 0)},
)
"""How callers may give the same customer."""

EDGES = (0, 1, 8, 120, CUSTOMERS)


@pytest.fixture(scope="module", params=SAMPLES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(request.param, tmp_path_factory.mktemp("bundles")) as served:
        yield served


def customers() -> Columns:
    """Of every sort, a good part of them within the population."""
    made = random_columns(CUSTOMERS, seed=3)
    made.numeric[:, 0] = np.clip(made.numeric[:, 0], -3, 95)
    made.numeric[:, 1] = (made.numeric[:, 1] - 30) / 8
    return made


def test_it_says_serving_under_its_own_name(served: Served) -> None:
    with served.server.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", served.client.SERVICE):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_it_describes_its_outputs_with_the_categories_they_speak_of(served: Served) -> None:
    answer = served.client.get_model()
    assert (answer.model_version.name, answer.model_version.version) == (served.model, "7")
    outputs = SAMPLES[served.model].schema.outputs
    assert [(output.name, output.unit, output.category) for output in answer.model.outputs] == [
        (output.name, output.unit, output.category) for output in outputs
    ]


def test_the_same_customers_get_the_same_columns_by_row_batch_stream_and_offline(served: Served) -> None:
    everybody = customers()
    batch = answer_of(served.client.batch_predict(table_of(everybody)))
    columns = served.client.columns(batch)
    scores = served.servable.score(everybody)
    scored = scores.statuses == scoring_pb2.SCORE_STATUS_OK
    assert CUSTOMERS / 4 < scored.sum() < CUSTOMERS
    assert [status == "OK" for status in columns["status"]] == scored.tolist()
    for name, values in scores.values.items():
        given = columns[name].astype(np.float32)
        assert given[scored].tobytes() == values[scored].tobytes(), name

    tables = [table_of(everybody.slice(*edge)) for edge in itertools.pairwise(EDGES)]
    parts = [served.client.columns(answer_of(answer)) for answer in served.client.stream_predict(tables)]
    for name, values in columns.items():
        streamed = np.concatenate([part[name] for part in parts])
        assert bits(streamed) == bits(values), name


def test_a_row_says_what_its_place_in_a_table_says(served: Served) -> None:
    everybody = customers()
    table = answer_of(served.client.batch_predict(table_of(everybody)))
    for at in range(CUSTOMERS):
        row = answer_of(served.client.predict(f"c{at}", features_of(everybody, at)))
        for field in row.DESCRIPTOR.fields:
            if field.name not in {"warnings", "categories", "cluster_name", "tier"}:
                assert value_of(row, field.name) == place_of(table, plural_of(table, field.name), at), (at, field.name)


def test_callers_who_meet_get_the_responses_that_each_gets_alone(served: Served) -> None:
    everybody = customers()
    asked = [(f"c{at // 2}", ASKED[at % len(ASKED)](features_of(everybody, at))) for at in range(CUSTOMERS)]
    alone = [served.client._predict_alone(one, PATIENCE_SECONDS) for one in asked]
    together = served.client._predict_together(asked, PATIENCE_SECONDS)
    assert [wire_of(together(at)) for at in range(CUSTOMERS)] == [wire_of(response) for response in alone]
    assert len({answer_of(response).status for response in alone}) == 3
    assert any(answer_of(response).warnings for response in alone)
    with ThreadPoolExecutor(32) as callers:
        met = callers.map(lambda one: served.client.predict(one[0], one[1], PATIENCE_SECONDS), asked)
        assert [wire_of(response) for response in met] == [wire_of(response) for response in alone]
    method = methods_of(served.client.SERVICE).batch.name
    assert served.server.metric("grpc_server_handled_total", grpc_method=method, grpc_code="OK") > 1


def wire_of(response: Message) -> bytes:
    """Every bit of it."""
    return response.SerializeToString(deterministic=True)


def bits(values: np.ndarray[Any, np.dtype[Any]]) -> object:
    """NaN equals NaN, and zeros differ by their sign."""
    return values.tolist() if values.dtype == object else values.tobytes()


def answer_of(response: Message) -> Any:
    """The prediction, assignment, or table of them."""
    nouns = ("prediction", "assignment")
    return next(value for field, value in response.ListFields() if field.name.startswith(nouns))


def plural_of(table: Message, field: str) -> str:
    """The column that holds a row's field."""
    plurals = {field, f"{field}s", f"{field}es", f"{field.removesuffix('y')}ies"}
    (name,) = plurals & set(table.DESCRIPTOR.fields_by_name)
    return name


def value_of(row: Any, field: str) -> object:
    """The field, or None where it is absent, as only what is optional can be."""
    if row.DESCRIPTOR.fields_by_name[field].has_presence and not row.HasField(field):
        return None
    return getattr(row, field)


def place_of(table: Any, column: str, at: int) -> object:
    """That place of a column, or None where it is NaN."""
    value = getattr(table, column)[at]
    return None if isinstance(value, float) and np.isnan(value) else value


def test_what_does_not_fit_is_refused_by_its_field(served: Served) -> None:
    with pytest.raises(CallError) as failed:
        served.client.predict("c1", {"recency_days": 1.0, "age": 40.0})
    assert (failed.value.reason, list(failed.value.violations)) == ("INVALID_CUSTOMERS", ['customer.numeric["age"]'])
    twice = scoring_pb2.CustomerTable(
        ids=["a", "a"], numeric=[scoring_pb2.NumericColumn(name="recency_days", values=[1.0, 2.0])]
    )
    good = table_of(customers().slice(0, 2))
    answers: list[Any] = list(served.client.stream_predict([good, twice, good]))
    assert [answer.HasField("error") for answer in answers] == [False, True, False]
    assert CallError.from_status(answers[1].error).violations == {"customers.ids[1]": "stands earlier in this table"}


def test_all_of_them_take_the_same_customers() -> None:
    assert all(sample.schema.features == SCHEMA.features for sample in SAMPLES.values())
