from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from model_registry.frame import FrameError, columns_from_arrow
from tests.support.bundles import SCHEMA


def table(**changes: pa.Array) -> pa.Table:
    base = {
        "customer_id": pa.array(["a", "b"]),
        "channel": pa.array(["web", None]),
        "frequency": pa.array([3, None], pa.int64()),
        "recency_days": pa.array([1.5, 2.5]),
    }
    return pa.table({**base, **changes})


@pytest.mark.parametrize("as_batch", [False, True])
def test_features_are_taken_by_name_in_the_order_of_the_schema(*, as_batch: bool) -> None:
    source = table().to_batches()[0] if as_batch else table()
    columns = columns_from_arrow(source, SCHEMA)
    assert columns.numeric.dtype == np.float32
    np.testing.assert_array_equal(columns.numeric, [[1.5, 3.0], [2.5, np.nan]])
    assert columns.categorical.tolist() == [["web"], [""]]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, None], pa.int8()),
        pa.array([1, None], pa.uint64()),
        pa.array([1, None], pa.float16()),
        pa.array([1, None], pa.float32()),
        pa.array([1, None], pa.float64()),
        pa.array([True, None]),
    ],
    ids=lambda values: str(values.type),
)
@pytest.mark.parametrize("as_batch", [False, True])
def test_every_kind_of_number_with_a_null_becomes_float32_with_nan(values: pa.Array, *, as_batch: bool) -> None:
    source = table(frequency=values)
    columns = columns_from_arrow(source.to_batches()[0] if as_batch else source, SCHEMA)
    np.testing.assert_array_equal(columns.numeric[:, 1], np.array([1, np.nan], np.float32))


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", None], pa.string()),
        pa.array(["a", None], pa.large_string()),
        pa.array(["a", None], pa.string_view()),
        pa.array(["a", None]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array([None, "a"])),
    ],
    ids=lambda values: str(values.type),
)
@pytest.mark.parametrize("as_batch", [False, True])
def test_every_kind_of_text_with_a_null_becomes_text_or_the_missing_category(
    values: pa.Array, *, as_batch: bool
) -> None:
    source = table(channel=values)
    columns = columns_from_arrow(source.to_batches()[0] if as_batch else source, SCHEMA)
    assert columns.categorical.tolist() == [["a"], [""]]
    assert all(isinstance(value, str) for value in columns.categorical.flat)


def test_columns_without_a_single_value_are_missing_throughout() -> None:
    columns = columns_from_arrow(table(frequency=pa.nulls(2), channel=pa.nulls(2)), SCHEMA)
    assert np.isnan(columns.numeric[:, 1]).all()
    assert columns.categorical.tolist() == [[""], [""]]


def test_chunks_are_read_in_order() -> None:
    first, second = table(), table(recency_days=pa.array([7.0, 8.0]))
    chunked = pa.concat_tables([first, second])
    assert chunked.column("recency_days").num_chunks == 2
    assert columns_from_arrow(chunked, SCHEMA).numeric[:, 0].tolist() == [1.5, 2.5, 7.0, 8.0]
    sliced = chunked.slice(1, 2)
    assert columns_from_arrow(sliced, SCHEMA).numeric[:, 0].tolist() == [2.5, 7.0]
    assert columns_from_arrow(sliced, SCHEMA).categorical.tolist() == [[""], ["web"]]


def test_an_empty_table_gives_no_rows() -> None:
    columns = columns_from_arrow(table().slice(0, 0), SCHEMA)
    assert columns.numeric.shape == (0, 2)
    assert columns.categorical.shape == (0, 1)


def test_missing_columns_are_all_named() -> None:
    with pytest.raises(FrameError, match=r"lacks columns .*: recency_days, channel$"):
        columns_from_arrow(table().drop_columns(["channel", "recency_days"]), SCHEMA)


def test_a_column_that_stands_twice_is_refused() -> None:
    twice = table().append_column("frequency", pa.array([1, 2]))
    with pytest.raises(FrameError, match=r"more than once.*: frequency$"):
        columns_from_arrow(twice, SCHEMA)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"frequency": pa.array(["1", "2"])}, "frequency must be numeric, is string"),
        ({"frequency": pa.array(["1", "2"]).dictionary_encode()}, "frequency must be numeric, is dictionary"),
        ({"channel": pa.array([1, 2])}, "channel must be text, is int64"),
        ({"channel": pa.array([1, 2]).dictionary_encode()}, "channel must be text, is int64"),
    ],
)
def test_a_column_of_the_wrong_kind_is_named_with_its_kind(changes: dict[str, pa.Array], complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        columns_from_arrow(table(**changes), SCHEMA)
