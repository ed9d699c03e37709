"""Ids that stand more than once in a whole base, found in little memory however large the base is."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from services.batch.errors import BatchError, InputError
from services.batch.rejected import ID
from services.batch.source import Found, is_id, open_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MEMORY = "512MB"
"""Beyond it, ids are counted on disk."""

READ_ROWS = 100_000

SCHEMA = pa.schema({ID: pa.string()})

QUERY = "SELECT customer_id FROM ids WHERE customer_id <> '' GROUP BY 1 HAVING count(*) > 1 ORDER BY 1"


def repeated_ids(files: Sequence[Found]) -> Iterator[pa.RecordBatch]:
    """The ids, as text and in order, that stand more than once in Parquet files. Absent ones do not count.

    Raises:
        InputError: a file is damaged, or has no ids.
        OSError: a file cannot be read.
        BatchError: there is no room to count them.
    """
    reading = _Reading(files)
    ids = pa.RecordBatchReader.from_batches(SCHEMA, reading.batches())
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _database(folder) as database:
                database.register("ids", ids)
                counted: pa.RecordBatchReader = database.sql(QUERY).to_arrow_reader(READ_ROWS)
                yield from counted
        except duckdb.Error as error:
            if reading.failed is not None:
                raise reading.failed from None
            told = str(error).partition("\n")[0]
            raise BatchError(f"ids cannot be counted: {told}; see that {folder} has room, or set TMPDIR") from error


def _database(folder: str) -> duckdb.DuckDBPyConnection:
    threads = len(os.sched_getaffinity(0))
    return duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": folder, "threads": threads})


class _Reading:
    """Reads ids. DuckDB passes on that it failed, and not how."""

    def __init__(self, files: Sequence[Found]) -> None:
        self._files = files
        self.failed: BaseException | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for file in self._files:
                yield from _ids(file)
        except BaseException as error:
            self.failed = error
            raise


def _ids(file: Found) -> Iterator[pa.RecordBatch]:
    with open_parquet(file.parquet) as parquet:
        _require_ids(file, parquet.schema_arrow)
        for batch in parquet.iter_batches(READ_ROWS, columns=[ID], use_threads=False):
            yield pa.record_batch([batch.column(0).cast(pa.string())], schema=SCHEMA)


def _require_ids(file: Found, schema: pa.Schema) -> None:
    if ID not in schema.names:
        raise InputError(f"{file.origin} has no column {ID}; it has {', '.join(schema.names) or 'none'}")
    kind = schema.field(ID).type
    if not is_id(kind):
        raise InputError(f"{ID} of {file.origin} must be text or whole numbers, is {kind}")
