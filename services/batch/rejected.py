"""Rows that nobody can score: set aside with where they stand and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.batch.source import Shard

ID = "customer_id"

STAMP = b"regulars.rejected"

SCHEMA = pa.schema(
    {"file": pa.string(), "row": pa.int64(), ID: pa.string(), "model": pa.string(), "reason": pa.string()},
    # Tells its files from those of others.
    metadata={STAMP: b"1"},
)
"""`row` counts from 0 in its file. `model` is null where the fault is no single model's, and the row has no scores."""


@dataclass
class Rejected:
    """Those of one shard. Its N rows have the ids `ids`, and `lines` are their rows in the files."""

    shard: Shard
    ids: pa.Array
    lines: NDArray[np.int64]
    _found: list[tuple[NDArray[np.intp], str | None, Sequence[str]]] = field(default_factory=list)

    def add(self, places: NDArray[np.intp], reasons: str | Sequence[str], model: str | None = None) -> None:
        """Sets rows of the shard aside, for one reason or one each."""
        if len(places):
            self._found.append((places, model, [reasons] * len(places) if isinstance(reasons, str) else reasons))

    @property
    def places(self) -> NDArray[np.intp]:
        """Which rows of the shard were set aside, by all models or any."""
        return np.unique(np.concatenate([places for places, _, _ in self._found] or [np.empty(0, np.intp)]))

    def to_table(self) -> pa.Table:
        """By row, and of `SCHEMA`."""
        tables = [self._table(*found) for found in self._found]
        return pa.concat_tables([SCHEMA.empty_table(), *tables]).sort_by([("file", "ascending"), ("row", "ascending")])

    def _table(self, places: NDArray[np.intp], model: str | None, reasons: Sequence[str]) -> pa.Table:
        starts = np.cumsum([0, *(part.rows for part in self.shard.slices[:-1])])
        files = [self.shard.slices[at].origin for at in np.searchsorted(starts, places, side="right") - 1]
        return pa.table([files, self.lines[places], self.ids.take(places), [model] * len(places), reasons], SCHEMA)


def lines_of(shard: Shard) -> NDArray[np.int64]:
    """The rows of a shard as rows of their files."""
    return np.concatenate([np.arange(part.rows) + part.first_row for part in shard.slices])


def rows_in(rejected: pa.Table) -> int:
    """Of a table of `SCHEMA`, where a row of the input stands once for each of its faults."""
    return int(rejected.group_by(["file", "row"]).aggregate([]).num_rows)
