from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client import customer, customer_table

texts = st.lists(st.one_of(st.none(), st.just(math.nan), st.text(max_size=3)))


def test_a_customer_is_its_numbers_and_its_texts_by_name() -> None:
    row = customer("c1", {"days": 3, "spend": 2.5, "channel": "web"})
    assert row.id == "c1"
    assert dict(row.numeric) == {"days": 3.0, "spend": 2.5}
    assert dict(row.categorical) == {"channel": "web"}


def test_what_is_none_is_left_out_of_a_customer() -> None:
    row = customer("c1", {"days": None, "channel": None, "zero": 0.0, "empty": ""})
    assert set(row.numeric) == {"zero"}
    assert set(row.categorical) == {"empty"}


def test_numbers_and_texts_of_numpy_are_taken() -> None:
    features = {"days": np.int64(3), "spend": np.float32(2.5), "vip": np.bool_(True), "in": np.str_("web")}
    row = customer("c1", features)  # type: ignore[arg-type]  # what comes out of numpy
    assert dict(row.numeric) == {"days": 3.0, "spend": 2.5, "vip": 1.0}
    assert dict(row.categorical) == {"in": "web"}


def test_a_table_has_one_value_a_customer_in_every_column() -> None:
    table = customer_table(["a", "b"], {"days": [1, 2], "spend": np.array([0.5, 1.5])}, {"channel": ["web", "shop"]})
    assert list(table.ids) == ["a", "b"]
    assert {column.name: list(column.values) for column in table.numeric} == {"days": [1, 2], "spend": [0.5, 1.5]}
    assert [column.name for column in table.categorical] == ["channel"]


def test_numbers_are_rounded_to_the_precision_of_the_model() -> None:
    (column,) = customer_table(["a"], {"spend": [0.1]}, {}).numeric
    assert list(column.values) == [float(np.float32(0.1))]


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan")])
def test_a_missing_number_is_nan(missing: float | None) -> None:
    (column,) = customer_table(["a", "b"], {"days": np.array([1.0, missing], object)}, {}).numeric
    assert column.values[0] == 1.0
    assert math.isnan(column.values[1])


@given(texts)
def test_a_text_column_reads_back_as_it_was_and_holds_each_text_once(values: list[str | float | None]) -> None:
    (column,) = customer_table(["x"] * len(values), {}, {"channel": values}).categorical
    decoded = [None if code == -1 else column.dictionary[code] for code in column.codes]
    assert decoded == [value if isinstance(value, str) else None for value in values]
    assert len(set(column.dictionary)) == len(column.dictionary)


def test_a_category_that_is_a_number_is_refused_where_it_is_made() -> None:
    with pytest.raises(TypeError, match="a category is text, is int"):
        customer_table(["a"], {}, {"channel": [7]})
