"""One model's answers to a table of customers, as columns of the scores: each customer has a row, scored or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_registry.columns import MISSING_CATEGORY, Columns
from model_registry.frame import columns_from_arrow
from model_registry.schema import Status
from services.batch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from model_registry.schema import Schema
    from services.batch.scorers import Scorer

CONSENT = "consent"
"""The column that says who agrees to be scored; 'regulars features build' writes it. Whoever is null there does not."""

REFUSED = "REFUSED"
"""The status of a customer who lacks what the model needs. It stands in no proto: a server refuses the whole table."""


@dataclass(frozen=True)
class Answered:
    """What a model says of N customers.

    `columns` (N,) are nulls, but for the status, where a customer is not scored. `faults` are reasons, each with the
    places of the customers whom the model refuses for it.
    """

    model: str
    columns: dict[str, pa.Array]
    faults: list[tuple[str, NDArray[np.intp]]]


def answer(model: str, scorer: Scorer, ids: pa.Array, customers: pa.Table, agrees: NDArray[np.bool_]) -> Answered:
    """Scores those of N customers who agree and who have what the model needs; the others go nowhere.

    Args:
        model: whose status the first column is.
        scorer: scores with it.
        ids: (N,), as text.
        customers: their N rows.
        agrees: (N,) who agrees to be scored.

    Raises:
        FrameError: a column is missing, or not of the kind that the model takes.
        CallError, ScoringError: a server or a graph failed.
    """
    columns = columns_from_arrow(customers, scorer.schema)
    faults = [(reason, np.flatnonzero(mask)) for reason, mask in _faults(columns, scorer.schema, agrees)]
    asked = agrees.copy()
    for _, places in faults:
        asked[places] = False
    statuses = np.where(agrees, REFUSED, Status.NO_CONSENT.name).astype(object)
    values = _score(scorer, ids, columns, asked)
    statuses[asked] = values["status"]
    scored = statuses == Status.OK.name
    said = {name: _spread(column, asked, scored) for name, column in values.items() if name != "status"}
    return Answered(model, {status_column(model): pa.array(statuses, pa.string()), **said}, faults)


def status_column(model: str) -> str:
    """Where the scores tell who was scored with a model, and why others were not."""
    return f"{model}_status"


def agreeing(customers: pa.Table) -> NDArray[np.bool_]:
    """Who of N customers agrees to be scored, (N,); without a column of consent everybody does.

    Raises:
        InputError: the consent is not true or false.
    """
    if CONSENT not in customers.schema.names:
        return np.ones(customers.num_rows, np.bool_)
    column = customers.column(CONSENT)
    # A column without a single value has no type.
    if not (pa.types.is_boolean(column.type) or pa.types.is_null(column.type)):
        raise InputError(f"{CONSENT} must be true or false, is {column.type}")
    agrees: NDArray[np.bool_] = pc.fill_null(column.cast(pa.bool_()), fill_value=False).to_numpy()
    return agrees


def _score(scorer: Scorer, ids: pa.Array, columns: Columns, asked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The answers to those who are asked for, one entry each."""
    if not asked.any():
        return scorer.nobody()
    if not asked.all():
        ids = ids.filter(pa.array(asked))
        columns = Columns(columns.numeric[asked], columns.categorical[asked])
    parts = list(scorer.score(ids.to_pylist(), columns))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _spread(values: NDArray[Any], asked: NDArray[np.bool_], scored: NDArray[np.bool_]) -> pa.Array:
    """A column for all customers, null for whoever is not scored, which every reader of the file takes for missing."""
    kind = pa.string() if values.dtype == object else None
    if len(values) == len(asked):
        return pa.array(values, kind, mask=~scored)
    spread = np.zeros(len(asked), values.dtype)
    spread[asked] = values
    return pa.array(spread, kind, mask=~scored)


def _faults(columns: Columns, schema: Schema, agrees: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Why customers would be refused by a server, which would refuse all that come with them."""
    for at, feature in enumerate(schema.numeric):
        values = columns.numeric[:, at]
        yield from _fault(f"{feature.name} is infinite or beyond float32", np.isinf(values) & agrees)
        if not feature.nullable:
            yield from _fault(f"{feature.name} is missing and the model needs it", np.isnan(values) & agrees)
    for at, feature in enumerate(schema.categorical):
        if not feature.nullable:
            absent = columns.categorical[:, at] == MISSING_CATEGORY
            yield from _fault(f"{feature.name} is missing and the model needs it", absent & agrees)


def _fault(reason: str, mask: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if mask.any():
        yield reason, mask
