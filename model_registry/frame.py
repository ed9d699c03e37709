"""Arrow tables to a model's columns. Jobs use it; servers have no pyarrow and take protobuf columns instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_registry.columns import MISSING_CATEGORY, Columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_registry.schema import Schema


class FrameError(Exception):
    """A table that does not fit a model's schema. Names the columns."""


def columns_from_arrow(table: pa.Table | pa.RecordBatch, schema: Schema) -> Columns:
    """Takes the model's features out of a table by name.

    Raises:
        FrameError: columns are missing, repeated, or of a kind that the schema does not take.
    """
    names = [feature.name for feature in schema.features]
    missing = [name for name in names if name not in table.schema.names]
    if missing:
        raise FrameError(f"the table lacks columns that the model needs: {', '.join(missing)}")
    repeated = [name for name in names if table.schema.names.count(name) > 1]
    if repeated:
        raise FrameError(f"columns that the model needs stand more than once in the table: {', '.join(repeated)}")
    numeric = np.empty((table.num_rows, len(schema.numeric)), np.float32)
    for position, feature in enumerate(schema.numeric):
        numeric[:, position] = _numbers(table.column(feature.name), feature.name)
    categorical = np.empty((table.num_rows, len(schema.categorical)), object)
    for position, feature in enumerate(schema.categorical):
        categorical[:, position] = _texts(table.column(feature.name), feature.name)
    return Columns(numeric, categorical)


def _numbers(column: pa.ChunkedArray | pa.Array, name: str) -> NDArray[np.float32]:
    kind = column.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    # A column without a single value has no type.
    if not (numeric or pa.types.is_null(kind)):
        raise FrameError(f"column {name} must be numeric, is {kind}")
    values: NDArray[np.float32] = column.cast(pa.float32(), safe=False).to_numpy(**_copying(column))
    return values


def _texts(column: pa.ChunkedArray | pa.Array, name: str) -> NDArray[np.object_]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_null(kind)):
        raise FrameError(f"column {name} must be text, is {kind}")
    filled = pc.fill_null(column.cast(pa.string()), MISSING_CATEGORY)
    values: NDArray[np.object_] = filled.to_numpy(**_copying(column))
    return values


def _copying(column: pa.ChunkedArray | pa.Array) -> dict[str, bool]:
    """Nulls need a copy, which arrays must be told to allow and chunked arrays always make."""
    return {} if isinstance(column, pa.ChunkedArray) else {"zero_copy_only": False}
