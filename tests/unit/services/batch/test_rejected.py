"""Rows that were set aside are found again: in which file, in which row, and why."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from services.batch.rejected import SCHEMA, STAMP, Rejected, lines_of, rows_in
from services.batch.source import Shard, Slice

SHARD = Shard(
    3, (Slice("b", "b.csv", 0, 5, 2, 105), Slice("b", "b.csv", 1, 0, 1, 200), Slice("a", "a.csv", 0, 0, 3, 0))
)
IDS = pa.array(["u", "v", None, "x", "y", "z"])


def rejected() -> Rejected:
    return Rejected(SHARD, IDS, lines_of(SHARD))


def places(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.array(numbers, np.intp)


def test_rows_are_told_as_rows_of_their_files() -> None:
    assert lines_of(SHARD).tolist() == [105, 106, 200, 0, 1, 2]
    found = rejected()
    found.add(places(2, 5), "has no id")
    found.add(places(0, 1), ["is odd", "is even"])
    found.add(places(1), "lacks days", "churn")
    assert found.to_table().to_pylist() == [
        {"file": "a.csv", "row": 2, "customer_id": "z", "model": None, "reason": "has no id"},
        {"file": "b.csv", "row": 105, "customer_id": "u", "model": None, "reason": "is odd"},
        {"file": "b.csv", "row": 106, "customer_id": "v", "model": None, "reason": "is even"},
        {"file": "b.csv", "row": 106, "customer_id": "v", "model": "churn", "reason": "lacks days"},
        {"file": "b.csv", "row": 200, "customer_id": None, "model": None, "reason": "has no id"},
    ]
    assert found.places.tolist() == [0, 1, 2, 5]
    assert rows_in(found.to_table()) == 4


def test_lines_that_are_given_are_those_of_the_original() -> None:
    found = Rejected(SHARD, IDS, np.array([9, 8, 7, 6, 5, 4]))
    found.add(places(0, 3), "is odd")
    assert [(row["file"], row["row"]) for row in found.to_table().to_pylist()] == [("a.csv", 6), ("b.csv", 9)]


def test_where_nobody_was_set_aside_the_table_is_empty_and_of_the_same_columns() -> None:
    found = rejected()
    found.add(places(), "is odd")
    table = found.to_table()
    assert (table.num_rows, rows_in(table), found.places.tolist()) == (0, 0, [])
    assert table.schema.equals(SCHEMA, check_metadata=True)


def test_its_files_can_be_told_from_others() -> None:
    found = rejected()
    found.add(places(1), "is odd")
    assert STAMP in found.to_table().schema.metadata
