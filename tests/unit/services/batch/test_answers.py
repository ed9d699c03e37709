"""One model's answers to some customers: in their places, nothing of those who may not or cannot be scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.frame import FrameError
from services.batch.answers import CONSENT, Answered, agreeing, answer
from services.batch.errors import InputError
from tests.fakes.scoring import FakeModel
from tests.support.bundles import SCHEMA

STRICT = replace(
    SCHEMA, features=tuple(replace(feature, nullable=feature.name == "frequency") for feature in SCHEMA.features)
)

TYPES = pa.schema(
    {"customer_id": pa.string(), "recency_days": pa.float64(), "frequency": pa.float64(), "channel": pa.string()}
)


def customers(*rows: tuple[str, float | None, float | None, str | None]) -> pa.Table:
    return pa.table([list(column) for column in zip(*rows, strict=True)] if rows else [[]] * 4, TYPES)


def answered(model: FakeModel, table: pa.Table) -> Answered:
    with model.opened() as scorer:
        return answer(model.name, scorer, table.column("customer_id").combine_chunks(), table, agreeing(table))


def told(found: Answered) -> dict[str, list[Any]]:
    return {name: column.to_pylist() for name, column in found.columns.items()}


def faults(found: Answered) -> dict[str, list[int]]:
    return {reason: places.tolist() for reason, places in found.faults}


def test_every_customer_has_a_row_and_only_who_is_scored_has_scores() -> None:
    model = FakeModel()
    found = answered(model, customers(("a", 5.0, 1.0, "web"), ("b", 95.0, 2.0, "web"), ("c", 7.0, None, None)))
    assert told(found) == {
        "churn_status": ["OK", "INACTIVE", "OK"],
        "churn_days": [5.0, None, 7.0],
        "churn_channel": ["web", None, ""],
        "churn_often": [False, None, False],
        "churn_code": [5, None, 7],
    }
    assert [str(column.type) for column in found.columns.values()] == ["string", "float", "string", "bool", "int32"]
    assert model.asked == ["a", "b", "c"]
    assert not found.faults


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("recency_days", [1.0, float("nan")], "recency_days is missing and the model needs it"),
        ("recency_days", [1.0, None], "recency_days is missing and the model needs it"),
        ("recency_days", [1.0, 1e39], "recency_days is infinite or beyond float32"),
        ("frequency", [1.0, -np.inf], "frequency is infinite or beyond float32"),
        ("channel", ["web", None], "channel is missing and the model needs it"),
        ("channel", ["web", ""], "channel is missing and the model needs it"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_who_lacks_what_the_model_needs_is_refused_and_the_others_are_scored(
    column: str, values: list[Any], reason: str
) -> None:
    model = FakeModel(features=STRICT)
    table = customers(("a", 1.0, 1.0, "web"), ("b", 2.0, 2.0, "web"))
    changed = table.set_column(table.schema.get_field_index(column), column, pa.array(values))
    found = answered(model, changed)
    assert faults(found) == {reason: [1]}
    assert told(found)["churn_status"] == ["OK", "REFUSED"]
    assert all(values[0] is not None and values[1] is None for values in list(told(found).values())[1:])
    assert model.asked == ["a"]


def test_a_customer_with_two_faults_is_named_for_both_and_stays_one_row() -> None:
    model = FakeModel(features=STRICT)
    found = answered(model, customers(("a", None, np.inf, "web"), ("b", 1.0, 1.0, "web")))
    assert faults(found) == {
        "recency_days is missing and the model needs it": [0],
        "frequency is infinite or beyond float32": [0],
    }
    assert told(found)["churn_status"] == ["REFUSED", "OK"]
    assert model.asked == ["b"]


people = st.lists(
    st.tuples(st.sampled_from([True, False, None]), st.sampled_from([5.0, 95.0, None, np.inf])), max_size=12
)


@given(people)
def test_everybody_is_answered_in_place_and_only_who_agrees_and_can_be_is_asked_for(
    people: list[tuple[bool | None, float | None]],
) -> None:
    rows = customers(*((f"c{place}", days, 2.0, "web") for place, (_, days) in enumerate(people)))
    table = rows.append_column(CONSENT, pa.array([agrees for agrees, _ in people], pa.bool_()))
    model = FakeModel()
    found = answered(model, table)
    assert model.asked == [f"c{place}" for place, (agrees, days) in enumerate(people) if agrees and days in {5.0, 95.0}]
    expected = [
        "NO_CONSENT" if not agrees else {5.0: "OK", 95.0: "INACTIVE"}.get(days or 0.0, "REFUSED")
        for agrees, days in people
    ]
    columns = told(found)
    assert columns.pop("churn_status") == expected
    for column in columns.values():
        assert [value is not None for value in column] == [status == "OK" for status in expected]
    refused = {place for _, places in found.faults for place in places.tolist()}
    assert refused == {place for place, status in enumerate(expected) if status == "REFUSED"}
    nobody = answered(FakeModel(), customers())
    assert [column.type for column in found.columns.values()] == [column.type for column in nobody.columns.values()]


def test_without_the_column_everybody_agrees_and_a_column_of_nothing_is_a_no() -> None:
    table = customers(("a", 1.0, 1.0, "web"), ("b", 1.0, 1.0, "web"))
    assert agreeing(table).tolist() == [True, True]
    assert agreeing(table.append_column(CONSENT, pa.nulls(2))).tolist() == [False, False]
    assert agreeing(table.append_column(CONSENT, pa.array([True, None]))).tolist() == [True, False]


def test_a_consent_that_is_not_true_or_false_is_refused_by_name() -> None:
    words = customers(("a", 1.0, 1.0, "web")).append_column(CONSENT, pa.array(["yes"]))
    with pytest.raises(InputError, match="consent must be true or false, is string"):
        agreeing(words)


def test_files_may_differ_in_chunks_and_code_their_texts() -> None:
    table = customers(
        *((f"c{place}", float(place), 2.0, text) for place, text in enumerate(["web", "shop", None, "x"]))
    )
    at = table.schema.get_field_index("channel")
    coded = table.set_column(at, "channel", table.column("channel").dictionary_encode())
    chunked = pa.concat_tables([coded.slice(0, 1), coded.slice(1, 2), coded.slice(3)])
    assert told(answered(FakeModel(), chunked)) == told(answered(FakeModel(), table))


def test_a_column_of_the_wrong_kind_is_said_as_it_is() -> None:
    table = customers(("a", 1.0, 1.0, "web"))
    wrong = table.set_column(table.schema.get_field_index("channel"), "channel", pa.array([1]))
    with pytest.raises(FrameError, match="channel must be text"):
        answered(FakeModel(), wrong)
