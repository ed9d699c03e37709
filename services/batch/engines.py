"""Scoring as a function from a record batch to a record batch: in this process, or through a running server."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from model_registry.columns import MISSING_CATEGORY
from model_registry.frame import columns_from_arrow
from model_registry.schema import Status
from services.batch.customers import ID, InputError
from services.client import CallError, customer_table, load_client
from services.core.service import load_service
from services.methods import methods_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from model_registry.columns import Columns
    from model_registry.schema import Schema
    from model_registry.servable import Servable
    from regulars.scoring.v1.scoring_pb2 import CustomerTable, ModelVersion
    from services.client import AnyClient


class TableRefusedError(Exception):
    """The server refused a table. Says with which customer it starts, and why."""


def score_locally(servable: Servable, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Scores with a bundle in this process.

    Raises:
        FrameError: a batch does not fit the bundle's schema.
        InputError: a customer lacks what the model needs.
        ScoringError: the graph failed.
        BundleError: the model's service could not answer with this bundle.
    """
    model = servable.manifest.name
    service, client = load_service(model), load_client(model)
    answers = service.Answers(servable.manifest)
    method = methods_of(service.SERVICE).batch
    for batch in batches:
        # The message that a server would send, so that a file's columns are defined once.
        table = getattr(method.response(), method.answer)
        answers.fill_table(table, servable.score(_columns(batch, servable.schema)))
        yield _record_batch(batch.column(ID), client.columns(table))


def score_remotely(
    client: AnyClient, schema: Schema, batches: Iterable[pa.RecordBatch], versions: set[str]
) -> Iterator[pa.RecordBatch]:
    """Scores through a server's stream; the versions that answered are added to `versions`.

    Raises:
        FrameError: a batch does not fit the served schema.
        InputError: a customer lacks what the model needs.
        CallError: the server cannot be reached, or ends the stream.
        TableRefusedError: the server refused a table.
    """
    sent: deque[pa.Array] = deque()

    def tables() -> Iterator[CustomerTable]:
        for batch in batches:
            sent.append(batch.column(ID))
            yield _table(batch, schema)

    for response in client.stream_predict(tables()):
        ids = sent.popleft()
        result = response.WhichOneof("result")
        if result == "error":
            error = CallError.from_status(response.error)
            raise TableRefusedError(f"the table that starts with {ID} {ids[0].as_py()!r} was refused: {error}")
        versions.add(_version_name(response.model_version))
        yield _record_batch(ids, client.columns(getattr(response, result)))


def _table(batch: pa.RecordBatch, schema: Schema) -> CustomerTable:
    columns = _columns(batch, schema)
    return customer_table(
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


def _record_batch(ids: pa.Array, columns: Mapping[str, NDArray[Any]]) -> pa.RecordBatch:
    """Whoever is not scored has nulls, which every reader of the file takes for missing."""
    unscored = columns["status"] != Status.OK.name
    arrays = {
        name: pa.array(values, pa.string() if values.dtype == object else None, mask=unscored & (name != "status"))
        for name, values in columns.items()
    }
    return pa.RecordBatch.from_pydict({ID: ids.cast(pa.string()), **arrays})
