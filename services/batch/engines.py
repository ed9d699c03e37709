"""Scoring as a function from a record batch to a record batch: in this process, or through a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from model_registry.columns import MISSING_CATEGORY
from model_registry.frame import columns_from_arrow
from model_registry.schema import Status
from services.batch.customers import ID, InputError
from services.client import CallError, ChurnClient, customer_table
from services.client.churn import prediction_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from model_registry.columns import Columns, Scores
    from model_registry.schema import Schema
    from model_registry.servable import Servable
    from regulars.scoring.v1.scoring_pb2 import CustomerTable, ModelVersion


class TableRefusedError(Exception):
    """The server refused a table. Says which rows of the input it holds and why."""


def score_locally(servable: Servable, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Scores with a bundle in this process.

    Raises:
        FrameError: a batch does not fit the bundle's schema.
        InputError: a customer lacks what the model needs.
        ScoringError: the graph failed.
    """
    for batch in batches:
        scores = servable.score(_columns(batch, servable.schema))
        yield _record_batch(batch.column(ID), _score_columns(scores, servable.schema))


def score_remotely(
    client: ChurnClient, schema: Schema, batches: Iterable[pa.RecordBatch], versions: set[str]
) -> Iterator[pa.RecordBatch]:
    """Scores through a server's stream; the versions that answered are added to `versions`.

    Raises:
        FrameError: a batch does not fit the served schema.
        InputError: a customer lacks what the model needs.
        CallError: the server cannot be reached, or ends the stream.
        TableRefusedError: the server refused a table.
    """
    rows = 0
    for response in client.stream_predict(_tables(batches, schema)):
        if response.HasField("error"):
            error = CallError.from_status(response.error)
            raise TableRefusedError(f"the table that starts at row {rows} was refused: {error}")
        versions.add(_version_name(response.model_version))
        rows += len(response.predictions.customer_ids)
        ids = pa.array(response.predictions.customer_ids, pa.string())
        yield _record_batch(ids, prediction_columns(response.predictions))


def _tables(batches: Iterable[pa.RecordBatch], schema: Schema) -> Iterator[CustomerTable]:
    for batch in batches:
        columns = _columns(batch, schema)
        yield customer_table(
            batch.column(ID).to_pylist(),
            {feature.name: columns.numeric[:, at] for at, feature in enumerate(schema.numeric)},
            {
                feature.name: [None if text == MISSING_CATEGORY else text for text in columns.categorical[:, at]]
                for at, feature in enumerate(schema.categorical)
            },
        )


def _columns(batch: pa.RecordBatch, schema: Schema) -> Columns:
    """The model's columns, refused here as a server would refuse them, whichever engine scores."""
    columns = columns_from_arrow(batch, schema)
    for at, feature in enumerate(schema.numeric):
        values = columns.numeric[:, at]
        _refuse(np.isinf(values), batch, feature.name, "is infinite or beyond float32")
        _refuse(np.isnan(values) & (not feature.nullable), batch, feature.name, "is missing and the model needs it")
    for at, feature in enumerate(schema.categorical):
        absent = columns.categorical[:, at] == MISSING_CATEGORY
        _refuse(absent & (not feature.nullable), batch, feature.name, "is missing and the model needs it")
    return columns


def _refuse(rows: NDArray[np.bool_], batch: pa.RecordBatch, name: str, what: str) -> None:
    if rows.any():
        example = batch.column(ID)[int(rows.argmax())].as_py()
        raise InputError(f"{name} {what}, for example that of {ID} {example!r}; fill it in, or leave the customer out")


def _version_name(version: ModelVersion) -> str:
    return f"{version.version} ({version.bundle_digest[:12]})"


def _score_columns(scores: Scores, schema: Schema) -> Mapping[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "status": np.array([Status(status).name for status in scores.statuses.tolist()], object)
    }
    for output in schema.outputs:
        columns[output.name] = scores.values[output.name]
        columns[f"{output.name}_percentile"] = scores.percentiles[output.name]
        # Band -1, not scored, takes the last entry.
        names = np.array([*(band.name for band in output.bands), None], object)
        columns[f"{output.name}_band"] = names[scores.bands[output.name]]
    return columns


def _record_batch(ids: pa.Array, columns: Mapping[str, NDArray[Any]]) -> pa.RecordBatch:
    """Whoever is not scored has nulls, which every reader of the file takes for missing."""
    arrays = [ids.cast(pa.string())]
    arrays += [
        pa.array(values, pa.string() if values.dtype == object else pa.float32(), from_pandas=True)
        for values in columns.values()
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[ID, *columns])
