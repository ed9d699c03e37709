from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regulars.churn.v1 import churn_pb2
from regulars.cltv.v1 import cltv_pb2
from regulars.clustering.v1 import clustering_pb2
from regulars.open_inference.v2 import open_inference_pb2
from regulars.propensity.v1 import propensity_pb2
from regulars.scoring.v1 import scoring_pb2
from services.wire import fill, move_ids, payload, payloads

number = st.floats(width=32, allow_nan=False)
floats = st.lists(number, max_size=300)
small = st.integers(0, 127)
whole = st.integers(-(2**31), 2**31 - 1)
# Lists of small numbers are encoded another way.
numbers = st.lists(small, max_size=300) | st.lists(small | whole, max_size=50)


@given(floats, numbers)
def test_filling_equals_extending(values: list[float], statuses: list[int]) -> None:
    filled, extended = churn_pb2.ChurnPredictionTable(), churn_pb2.ChurnPredictionTable()
    fill(filled, {"churn_probabilities": np.array(values, np.float32), "statuses": np.array(statuses, np.int32)})
    extended.churn_probabilities.extend(values)
    extended.statuses.extend(statuses)  # type: ignore[arg-type]  # open enums take any number
    assert filled == extended


@given(numbers, st.lists(st.booleans()))
def test_whole_numbers_and_booleans_are_filled_as_protobuf_does(values: list[int], flags: list[bool]) -> None:
    filled = clustering_pb2.ClusterAssignmentTable()
    fill(filled, {"cluster_ids": np.array(values, np.int32), "unusual": np.array(flags, np.bool_)})
    extended = clustering_pb2.ClusterAssignmentTable(cluster_ids=values, unusual=flags)
    assert filled == extended
    assert filled.SerializeToString() == extended.SerializeToString()


@given(numbers)
def test_signed_numbers_are_filled_as_protobuf_does(values: list[int]) -> None:
    filled = cltv_pb2.LifetimeValuePredictionTable()
    fill(filled, {"tiers": np.array(values, np.int32)})
    extended = cltv_pb2.LifetimeValuePredictionTable(tiers=values)
    assert filled == extended
    assert filled.SerializeToString() == extended.SerializeToString()


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int64, np.intp])
def test_any_width_of_number_is_taken(kind: type[np.integer[Any]]) -> None:
    filled = cltv_pb2.LifetimeValuePredictionTable()
    fill(filled, {"tiers": np.array([0, 1, 127], kind), "statuses": np.array([4, 1, 2], kind)})
    assert (list(filled.tiers), list(filled.statuses)) == ([0, 1, 127], [4, 1, 2])


def test_nan_and_strided_arrays_survive() -> None:
    matrix = np.array([[1.0, math.nan], [3.0, 4.0]], np.float32)
    column = scoring_pb2.NumericColumn(name="x")
    fill(column, {"values": matrix[:, 1]})
    assert column.name == "x"
    assert np.asarray(column.values).tobytes() == matrix[:, 1].tobytes()


@given(st.lists(st.text()))
def test_ids_move_to_the_answer(ids: list[str]) -> None:
    customers = scoring_pb2.CustomerTable(ids=ids, numeric=[scoring_pb2.NumericColumn(name="x", values=[1.0])])
    answer = churn_pb2.ChurnPredictionTable(churn_probabilities=[0.5])
    move_ids(customers, answer)
    assert list(answer.customer_ids) == ids
    assert list(answer.churn_probabilities) == [0.5]
    assert customers == scoring_pb2.CustomerTable()


def test_fields_of_a_later_version_do_not_become_answers() -> None:
    later = churn_pb2.ChurnPredictionTable(percentiles=[99.0]).SerializeToString()
    customers = scoring_pb2.CustomerTable.FromString(later)
    customers.ids.append("a")
    answer = churn_pb2.ChurnPredictionTable()
    move_ids(customers, answer)
    assert answer == churn_pb2.ChurnPredictionTable(customer_ids=["a"])


@pytest.mark.parametrize(
    "table",
    [
        churn_pb2.ChurnPredictionTable,
        propensity_pb2.PropensityPredictionTable,
        cltv_pb2.LifetimeValuePredictionTable,
        clustering_pb2.ClusterAssignmentTable,
    ],
)
def test_every_answer_holds_ids_where_requests_hold_them(table: type) -> None:
    asked = scoring_pb2.CustomerTable.DESCRIPTOR.fields_by_name["ids"]
    answered = table.DESCRIPTOR.fields_by_name["customer_ids"]  # type: ignore[attr-defined]  # a message class
    assert (answered.number, answered.type, answered.is_repeated) == (asked.number, asked.type, True)


@given(floats)
def test_a_payload_is_what_filled_the_field(values: list[float]) -> None:
    column = scoring_pb2.NumericColumn(values=values)
    data = np.array(values, "<f4").tobytes()
    assert payload(column, "values", len(data)) == (data or None)


def test_a_payload_of_another_length_or_beside_something_else_is_none() -> None:
    column = scoring_pb2.NumericColumn(values=[1.0, 2.0])
    assert payload(column, "values", 8) is not None
    assert payload(column, "values", 4) is None
    assert payload(column, "values", 12) is None
    column.name = "recency_days"
    assert payload(column, "values", 8) is None
    assert payload(scoring_pb2.NumericColumn.FromString(b"\x78\x01"), "values", 8) is None
    later = open_inference_pb2.InferTensorContents(fp32_contents=[1.0, 2.0], bytes_contents=[b"x"])
    assert payload(later, "fp32_contents", 8) is None


@given(st.integers(1, 40).flatmap(lambda rows: st.lists(st.lists(number, min_size=rows, max_size=rows), min_size=1)))
def test_payloads_stand_side_by_side(table: list[list[float]]) -> None:
    columns = [scoring_pb2.NumericColumn(name=f"feature_{at}", values=values) for at, values in enumerate(table)]
    names = [scoring_pb2.NumericColumn(name=column.name).SerializeToString() for column in columns]
    length = 4 * len(table[0])
    assert payloads(columns, "values", length, names) == np.array(table, "<f4").tobytes()
    assert payloads(columns, "values", length + 4, names) is None
    assert payloads(columns, "values", length, [b"", *names[1:]]) is None
    columns[-1].MergeFromString(b"\x78\x01")
    assert payloads(columns, "values", length, names) is None
