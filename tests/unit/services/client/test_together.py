from __future__ import annotations

import math
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regulars.cltv.v1 import cltv_pb2
from regulars.scoring.v1 import scoring_pb2
from services.client import CltvClient, customer
from services.client.together import Responses, put_together
from services.methods import methods_of

OK, INACTIVE = scoring_pb2.SCORE_STATUS_OK, scoring_pb2.SCORE_STATUS_INACTIVE
NAN = float("nan")

NUMBERS, TEXTS = ("days", "spend"), ("channel", "shop")
customers = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            **{
                name: st.one_of(st.none(), st.floats(), st.integers(-(2**70), 2**70), st.booleans()) for name in NUMBERS
            },
            **{name: st.one_of(st.none(), st.text(max_size=3)) for name in TEXTS},
        },
    ),
    min_size=1,
    max_size=8,
)


def together(*asked: dict[str, Any]) -> scoring_pb2.CustomerTable:
    table = scoring_pb2.CustomerTable()
    put_together(table, asked)
    return table


def seen_alone(features: dict[str, Any]) -> dict[str, bytes | str]:
    """What a server makes of a customer alone: doubles become float32, and NaN and an empty text are missing."""
    row = customer("a", features)
    numbers = {name: array("f", [value]) for name, value in row.numeric.items() if not math.isnan(value)}
    return {name: number.tobytes() for name, number in numbers.items()} | {
        name: text for name, text in row.categorical.items() if text
    }


def seen_together(table: scoring_pb2.CustomerTable, at: int) -> dict[str, bytes | str]:
    """What it makes of one row of a table."""
    numbers = {column.name: column.values[at] for column in table.numeric}
    texts = {column.name: column.dictionary[column.codes[at]] for column in table.categorical if column.codes[at] >= 0}
    return {name: array("f", [number]).tobytes() for name, number in numbers.items() if not math.isnan(number)} | {
        name: text for name, text in texts.items() if text
    }


@given(customers)
def test_a_customer_is_the_same_in_a_table_as_alone(asked: list[dict[str, Any]]) -> None:
    table = together(*asked)
    assert [seen_together(table, at) for at in range(len(asked))] == [seen_alone(features) for features in asked]
    assert len(set(table.ids)) == len(asked)


def test_a_feature_that_nobody_gives_is_no_column() -> None:
    table = together({"days": 1, "later": None}, {"later": None})
    assert [column.name for column in table.numeric] == ["days"]
    assert not table.categorical


@pytest.mark.parametrize("other", ["web", b"web", [1.0], 1j, 10**400])
def test_what_does_not_go_together_is_refused(other: object) -> None:
    with pytest.raises((TypeError, OverflowError)):
        together({"days": 1.0}, {"days": other})


def test_a_row_says_what_a_response_to_one_customer_says() -> None:
    table = cltv_pb2.LifetimeValuePredictionTable(
        statuses=[OK, INACTIVE, OK],
        expected_values=[100.0, NAN, 0.0],
        lower_bounds=[60.0, NAN, -1.0],
        upper_bounds=[180.0, NAN, 0.1],
        tier_names=["LOW", "HIGH"],
        tiers=[1, -1, -1],
        percentiles=[90.0, NAN, 0.0],
        warnings=[
            scoring_pb2.ColumnWarnings(warning=scoring_pb2.Warning(feature=name), rows=rows)
            for name, rows in (("days", [0, 1]), ("spend", [1]))
        ],
    )
    head: dict[str, Any] = {
        "model_version": scoring_pb2.ModelVersion(name="cltv", version="7"),
        "horizon_days": 90,
        "currency": "EUR",
        "interval_level": 0.8,
    }
    response = cltv_pb2.BatchPredictLifetimeValueResponse(**head, predictions=table)
    responses = Responses(methods_of(CltvClient.SERVICE), response, CltvClient._fill_scored)
    days, spend = scoring_pb2.Warning(feature="days"), scoring_pb2.Warning(feature="spend")
    assert [responses.of(row, "a") for row in range(3)] == [
        cltv_pb2.PredictLifetimeValueResponse(**head, prediction=prediction)
        for prediction in (
            cltv_pb2.LifetimeValuePrediction(
                customer_id="a",
                status=OK,
                expected_value=100.0,
                lower_bound=60.0,
                upper_bound=180.0,
                tier="HIGH",
                percentile=90.0,
                warnings=[days],
            ),
            cltv_pb2.LifetimeValuePrediction(customer_id="a", status=INACTIVE, warnings=[days, spend]),
            cltv_pb2.LifetimeValuePrediction(
                customer_id="a",
                status=OK,
                expected_value=0.0,
                lower_bound=-1.0,
                upper_bound=float(array("f", [0.1])[0]),
                percentile=0.0,
            ),
        )
    ]
