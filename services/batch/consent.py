"""Who has not agreed to be scored is answered in place, and neither scored nor sent anywhere."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_registry.schema import Status
from services.batch.customers import CONSENT, ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray


def score_consenting(
    score: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Scores those of `batches` who agree; the others get the status NO_CONSENT and nulls, in their own rows.

    Without a column of consent everybody agrees. Columns are those of the customers who are scored; where nobody is,
    there are the id and the status alone.
    """
    # Read and not yet answered: an engine may read ahead of what it answers.
    waiting: deque[tuple[pa.Array, NDArray[np.bool_]]] = deque()

    def agreeing() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            agrees = _agrees(batch)
            waiting.append((batch.column(ID), agrees))
            if agrees.any():
                yield batch if agrees.all() else batch.filter(pa.array(agrees))

    nobody = pa.RecordBatch.from_pylist([], pa.schema({ID: pa.string(), "status": pa.string()}))
    for scored in score(agreeing()):
        nobody = scored.slice(0, 0)
        while not waiting[0][1].any():
            yield _answer(*waiting.popleft(), nobody)
        yield _answer(*waiting.popleft(), scored)
    while waiting:
        yield _answer(*waiting.popleft(), nobody)


def _agrees(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    if CONSENT not in batch.schema.names:
        return np.ones(batch.num_rows, np.bool_)
    agreed = pc.fill_null(batch.column(CONSENT).cast(pa.bool_()), fill_value=False)
    agrees: NDArray[np.bool_] = agreed.to_numpy(zero_copy_only=False)
    return agrees


def _answer(ids: pa.Array, agrees: NDArray[np.bool_], scored: pa.RecordBatch) -> pa.RecordBatch:
    """One row for each of `ids`: the next of `scored` for whoever agrees."""
    if agrees.all():
        return scored
    rows = pa.array(np.cumsum(agrees) - 1, mask=~agrees)
    columns = {name: scored.column(name).take(rows) for name in scored.schema.names}
    columns |= {ID: ids, "status": pc.fill_null(columns["status"], Status.NO_CONSENT.name)}
    return pa.RecordBatch.from_pydict(columns)
