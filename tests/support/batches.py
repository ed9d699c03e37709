"""Customers in Parquet files, cut into shards of a few rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from services.batch import source as sources
from services.batch.place import Place
from services.batch.source import Found, Source, read_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = pa.schema(
    {
        "customer_id": pa.string(),
        "consent": pa.bool_(),
        "recency_days": pa.float64(),
        "frequency": pa.float64(),
        "channel": pa.string(),
    }
)

Customer = tuple[str | None, bool | None, float | None, float | None, str | None]


def customers(*rows: Customer) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(COLUMNS.names, row, strict=True)) for row in rows], COLUMNS)


def base_of(count: int) -> pa.Table:
    """Customers of every sort; ids begin with zeros."""
    channels = ["web", "shop", None]
    return customers(
        *(
            (
                f"{row:04}",
                (True, True, True, None)[row % 4],
                None if row % 7 == 5 else float(row % 100),
                float(row),
                channels[row % 3],
            )
            for row in range(count)
        )
    )


def source_of(folder: Path, *tables: pa.Table, shard_rows: int = 10, **writing: Any) -> Source:
    """The tables written as files of `folder`, and their shards."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.parquet" for number in range(len(tables))]
    for file, table in zip(files, tables, strict=True):
        pq.write_table(table, file, **writing)
    return source_in(files, shard_rows)


def source_in(files: Sequence[Path], shard_rows: int = 10) -> Source:
    places = [Place(str(file)) for file in files]
    with patch.object(sources, "SHARD_ROWS", shard_rows):
        return read_source([Found(place, place) for place in places])
