"""The day that a written table of features stands at, kept inside the Parquet file itself."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

AS_OF = b"regulars.as_of"


def stamped(features: pa.Table, as_of: dt.date) -> pa.Table:
    """The table, with its day."""
    return features.replace_schema_metadata({**(features.schema.metadata or {}), AS_OF: as_of.isoformat().encode()})


def stamp_of(path: Path) -> dt.date | None:
    """The day of a Parquet file that this suite wrote features into; None for any other file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    return dt.date.fromisoformat(metadata[AS_OF].decode()) if AS_OF in metadata else None
