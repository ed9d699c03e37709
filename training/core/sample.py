"""Who of a large base is learnt from: so many of its customers, drawn by a hash of their ids.

Whoever is drawn is drawn with all snapshots. The order of rows, the engine and the other columns have no say, so every
run draws the same ones, and a base that grows keeps most of those it had. The training part and the test part are both
of them: what a training takes in time and memory ends where the base is as large as the sample.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from features.engine import run
from features.snapshot import asked_about
from features.tables import only

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    import ibis

    from features.tables import CustomerTables

HASH_BYTES = 8


@dataclass(frozen=True)
class Sample:
    """`customers` were drawn of the `known` ones that the model's question is about."""

    customers: int
    known: int

    def __str__(self) -> str:
        return f"a random sample of {self.customers:,} of {self.known:,} customers"


def at_most(
    most: int, tables: CustomerTables, answers: Sequence[ibis.Table], last: dt.date
) -> tuple[CustomerTables, Sample | None]:
    """The tables of so many of the customers in `answers`; as they are, without a sample, where there are no more.

    Args:
        most: how many.
        tables: the canonical tables.
        answers: those of every snapshot, with `customer`. Who gave no consent is not drawn.
        last: the date of the last snapshot.

    Raises:
        TableError: a table cannot be read.
    """
    everybody = run(asked_about(tables, answers, last))
    if everybody.num_rows <= most:
        return tables, None
    drawn = everybody.take(draw(everybody.column("customer"), most))
    return only(tables, drawn), Sample(most, everybody.num_rows)


def draw(ids: pa.ChunkedArray, most: int) -> pa.Array:
    """The places of the `most` ids whose hash is least; numbers count as the texts that snapshots write."""
    hashes = np.fromiter((_hash(one.as_py()) for one in ids.cast(pa.string())), np.uint64, len(ids))
    return pa.array(np.argsort(hashes, kind="stable")[:most])


def _hash(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=HASH_BYTES).digest())
