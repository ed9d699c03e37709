"""Takes customers out of lists that were exported; `<list>.json` beside a list tells that it is one, and of what."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.batch.errors import BatchError
from services.batch.rejected import ID

if TYPE_CHECKING:
    from services.batch.place import Place

TOLD = frozenset({"made", "rows", "asked", "where", "order", "columns", "customers", "scores"})
"""What `<list>.json` says of any list."""

TEXT = ".csv"


def is_exported(file: Place) -> bool:
    return _provenance(file) is not None


def erase_from_list(file: Place, customers: frozenset[str]) -> int:
    """Takes the rows of `customers` out of a list, and returns how many there were.

    Raises:
        BatchError: the list is no longer as it was exported.
        OSError: a file cannot be read or written.
    """
    told = _provenance(file)
    if told is None:
        return 0
    called = next(name for name, column in told["columns"].items() if column == ID)
    erase = _erase_text if file.name.endswith(TEXT) else _erase_table
    try:
        removed, left = erase(file, called, customers)
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise BatchError(
            f"{file} has changed since it was exported, and customers cannot be taken out of it; delete it, or take "
            "them out by hand"
        ) from error
    if told["rows"] != left:
        _beside(file).write(json.dumps({**told, "rows": left}, indent=1, ensure_ascii=False).encode() + b"\n")
    return removed


def _erase_text(file: Place, called: str, customers: frozenset[str]) -> tuple[int, int]:
    """How many rows went, and how many are left."""
    with file.open() as opened:
        header, *rows = csv.reader(io.StringIO(opened.read().decode(), newline=""))
    at = header.index(called)
    kept = [row for row in rows if not customers.intersection(row[at : at + 1])]
    if len(kept) < len(rows):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([header, *kept])
        file.write(text.getvalue().encode())
    return len(rows) - len(kept), len(kept)


def _erase_table(file: Place, called: str, customers: frozenset[str]) -> tuple[int, int]:
    """The same for Parquet."""
    with file.open() as opened:
        table = pq.read_table(opened)
    kept = table.filter(pc.invert(pc.is_in(table.column(called), pa.array(sorted(customers), pa.string()))))
    if kept.num_rows < table.num_rows:
        with file.writing() as written:
            pq.write_table(kept, written)
    return table.num_rows - kept.num_rows, kept.num_rows


def _beside(file: Place) -> Place:
    return file.parent / f"{file.name}.json"


def _provenance(file: Place) -> dict[str, Any] | None:
    try:
        told = json.loads(_beside(file).read() or b"")
    except ValueError:
        return None
    return told if isinstance(told, dict) and told.keys() >= TOLD and ID in told["columns"].values() else None
