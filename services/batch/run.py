"""Scores a file of customers into a folder: `scores.parquet` and a manifest that says what scored it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from services.batch.consent import score_consenting
from services.batch.customers import InputError

if TYPE_CHECKING:
    from pathlib import Path

SCORES_FILE = "scores.parquet"
MANIFEST_FILE = "manifest.json"


Engine = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""Customers in, scores out, in order."""


class ScoresChangedError(Exception):
    """The scores of one run do not fit into one file. Says why."""


@dataclass(frozen=True)
class Summary:
    """What a run did. `statuses` counts rows by status."""

    model: str
    versions: tuple[str, ...]
    rows: int
    statuses: dict[str, int]
    seconds: float


def run(
    model: str,
    batches: Iterable[pa.RecordBatch],
    score: Engine,
    versions: set[str],
    output: Path,
    progress: Callable[[int], None],
) -> Summary:
    """Writes the scores of those of `batches` who agree to it; the files appear whole or not at all.

    `versions` is read when all is scored; `progress` is told the rows scored so far.

    Raises:
        InputError: there are no customers in `batches`.
        ScoresChangedError: the columns of the scores changed on the way.
        OSError: the folder cannot be written. And what `batches` and `score` raise.
    """
    started = time.perf_counter()
    statuses: Counter[str] = Counter()
    output.mkdir(parents=True, exist_ok=True)
    with _writer(output / SCORES_FILE) as write:
        for scored in score_consenting(score, (batch for batch in batches if batch.num_rows)):
            write(scored)
            statuses.update(scored.column("status").to_pylist())
            progress(statuses.total())
    seconds = time.perf_counter() - started
    summary = Summary(model, tuple(sorted(versions)), statuses.total(), dict(statuses), seconds)
    draft = output / f".{MANIFEST_FILE}"
    draft.write_text(json.dumps(asdict(summary), indent=1) + "\n")
    draft.replace(output / MANIFEST_FILE)
    return summary


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[pa.RecordBatch], None]]:
    draft = path.with_name(f".{path.name}")
    writer: pq.ParquetWriter | None = None

    def write(batch: pa.RecordBatch) -> None:
        nonlocal writer
        if writer is None:
            writer = pq.ParquetWriter(draft, batch.schema)
        if batch.schema != writer.schema:
            raise ScoresChangedError(
                f"the server began to serve another model in the middle of the run, whose scores have other columns "
                f"({', '.join(batch.schema.names)} after {', '.join(writer.schema.names)}); run it again"
            )
        writer.write_batch(batch)

    try:
        yield write
        if writer is None:
            raise InputError("the input holds no customers")
        writer.close()
        draft.replace(path)
    finally:
        if writer is not None:
            writer.close()
        draft.unlink(missing_ok=True)
