"""The work on one shard: read it, set aside whom nobody can score, score the others with every model, write both.

A part of the scores is done when its file is there. What there is to tell of it stands in the file's own footer, so
that whoever goes on with a run needs nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model_registry.distributions import count_numbers
from services.batch.answers import agreeing, answer, status_column
from services.batch.errors import InputError
from services.batch.rejected import ID, Rejected, lines_of, rows_in
from services.batch.source import ShardReader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from services.batch.answers import Answered
    from services.batch.place import Place
    from services.batch.scorers import Model
    from services.batch.source import Shard

ROW, FAULT = "regulars.row", "regulars.fault"
"""Columns that intake adds to what it reads from other formats: the row in the original, and why it cannot be read."""

REJECTED_FOLDER = "_rejected"
"""Readers of Parquet folders pass over names that begin with an underscore."""

FOOTER = b"regulars.scores"
"""The key of a part's `Footer` among the metadata of its schema."""


def part_name(number: int) -> str:
    return f"part-{number:05}.parquet"


@dataclass(frozen=True)
class Task:
    """What a run asks of each shard. Travels to other processes.

    `run` is the run's digest, written into every part. `names` are the columns to read, and those of `carried` go into
    the scores as they are. `repeated` is a Parquet file of the ids that stand more than once; None where none does.
    """

    run: str
    output: Place
    models: tuple[Model, ...]
    names: tuple[str, ...]
    carried: tuple[str, ...] = ()
    repeated: Place | None = None


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard's `rows`; `rejected` are those with a fault, for one model or for all.

    `statuses` counts customers by model and status, `bands` by column of text and its value, `bins` by output in the
    bins that training froze, where the model tells them.
    """

    number: int
    rows: int
    rejected: int
    statuses: dict[str, dict[str, int]]
    bands: dict[str, dict[str, int]]
    bins: dict[str, list[int]]


@dataclass(frozen=True)
class Tally:
    """What is counted of a part: the statuses of `models`, the values of the columns `texts`, and outputs in bins.

    `edges` are those of the bins, by output.
    """

    models: list[str]
    texts: list[str]
    edges: dict[str, list[float]]

    def count(self, number: int, scores: pa.Table, rejected: pa.Table) -> ShardReport:
        """The report of a part and of those who were set aside from it: everything is counted from what is written."""
        return ShardReport(
            number=number,
            rows=scores.num_rows + rows_in(rejected.filter(pc.is_null(rejected.column("model")))),
            rejected=rows_in(rejected),
            statuses={model: _counts(scores.column(status_column(model))) for model in self.models},
            bands={name: _counts(scores.column(name)) for name in self.texts},
            bins={
                name: count_numbers(scores.column(name).drop_null().to_numpy(), edges).tolist()
                for name, edges in self.edges.items()
            },
        )


@dataclass(frozen=True)
class Footer:
    """What a part tells of itself: the digest of its run, its report, and how that was counted."""

    run: str
    report: ShardReport
    tally: Tally

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Footer:
        """Raises ValueError, TypeError or KeyError on anything but a footer."""
        read = json.loads(text)
        return cls(read["run"], ShardReport(**read["report"]), Tally(**read["tally"]))


def set_aside(shard: Shard, customers: pa.Table, repeated: pa.Array | None) -> Rejected:
    """Those of a shard's customers with whom no model can do anything. `repeated` are ids that stand more than once."""
    ids = customers.column(ID).cast(pa.string()).combine_chunks()
    lines = customers.column(ROW).to_numpy() if ROW in customers.schema.names else lines_of(shard)
    rejected = Rejected(shard, ids, lines)
    if FAULT in customers.schema.names:
        faults = customers.column(FAULT).combine_chunks()
        places = _where(pc.is_valid(faults))
        rejected.add(places, faults.take(pa.array(places)).to_pylist())
    # Of a line that cannot be read it says nothing that it has no id.
    absent = _where(pc.fill_null(pc.equal(ids, ""), fill_value=True))
    rejected.add(np.setdiff1d(absent, rejected.places), f"has no {ID}")
    if repeated is not None:
        rejected.add(_where(pc.is_in(ids, repeated)), f"its {ID} stands more than once")
    return rejected


class Worker:
    """Scores shards, one after the other, with models that are loaded once."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Loads the models; raises BundleError or SecurityError where one cannot be had."""
        models = self._task.models
        self._scorers = {model.name: self._open.enter_context(model.opened()) for model in models}
        self._repeated = ids_in(self._task.repeated)
        self._reader = self._open.enter_context(ShardReader(self._task.names))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def work(self, shard: Shard) -> ShardReport:
        """Writes the shard's part, and before it those who were set aside; doing it again writes the same bytes.

        Raises:
            BatchError: the shard cannot be scored.
            FrameError: its columns are not of the kinds that a model takes.
            OSError: a file cannot be read or written.
            CallError, ScoringError: a server or a graph failed.
        """
        customers = self._reader.read(shard)
        if customers.num_rows != shard.rows:
            raise InputError(f"{shard.slices[0].origin} has changed since the run began; score it again with --restart")
        rejected = set_aside(shard, customers, self._repeated)
        ids = rejected.ids
        kept = np.setdiff1d(np.arange(len(ids)), rejected.places, assume_unique=True)
        if len(kept) < len(ids):
            customers, ids = customers.take(kept), ids.take(pa.array(kept))
        agrees = agreeing(customers)
        answered = [answer(name, scorer, ids, customers, agrees) for name, scorer in self._scorers.items()]
        for one in answered:
            for reason, places in one.faults:
                rejected.add(kept[places], reason, one.model)
        carried = {name: _withheld(customers.column(name), agrees) for name in self._task.carried}
        scores = _beside({ID: ids}, carried, *(one.columns for one in answered))
        return self._write(shard.number, scores, rejected.to_table(), self._tally(answered))

    def _tally(self, answered: Sequence[Answered]) -> Tally:
        said = [(name, column) for one in answered for name, column in list(one.columns.items())[1:]]
        return Tally(
            models=[one.model for one in answered],
            texts=[name for name, column in said if pa.types.is_string(column.type)],
            edges={
                output.name: list(output.distribution.edges)
                for scorer in self._scorers.values()
                for output in scorer.schema.outputs
                if output.distribution is not None and output.name in dict(said)
            },
        )

    def _write(self, number: int, scores: pa.Table, rejected: pa.Table, tally: Tally) -> ShardReport:
        """Those who were set aside come first: when the part is there, all is."""
        report = tally.count(number, scores, rejected)
        write_rejected(self._task.output / REJECTED_FOLDER / part_name(number), rejected)
        write_scores(self._task.output / part_name(number), scores, Footer(self._task.run, report, tally))
        return report


def write_scores(part: Place, scores: pa.Table, footer: Footer) -> None:
    # Of numbers that hardly repeat, a dictionary costs time and saves nothing.
    texts = [entry.name for entry in scores.schema if pa.types.is_string(entry.type) and entry.name != ID]
    with part.writing() as file:
        pq.write_table(scores.replace_schema_metadata({FOOTER: footer.to_json()}), file, use_dictionary=texts)


def write_rejected(part: Place, rejected: pa.Table) -> None:
    """No file where nobody was set aside."""
    if not rejected.num_rows:
        part.remove()
        return
    with part.writing() as file:
        pq.write_table(rejected, file)


def footer_in(part: Place) -> Footer | None:
    """None where there is none: the file is not a part of scores, or not whole."""
    try:
        with part.open() as file:
            return Footer.from_json((pq.read_schema(file).metadata or {})[FOOTER])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def report_in(part: Place, run: str) -> ShardReport | None:
    """What the footer of a part tells, if the run has written it; otherwise it is to be written again."""
    footer = footer_in(part)
    return footer.report if footer is not None and footer.run == run else None


def _beside(*groups: Mapping[str, pa.Array]) -> pa.Table:
    """Columns next to each other.

    Raises:
        InputError: two have one name.
    """
    counted = Counter(name for group in groups for name in group)
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise InputError(
            f"two columns of the scores would be called {', '.join(twice)}; score without --with-features, or the "
            "models in runs of their own"
        )
    return pa.table({name: column for group in groups for name, column in group.items()})


def _withheld(column: pa.ChunkedArray, agrees: NDArray[np.bool_]) -> pa.ChunkedArray:
    """The column without the values of whoever does not agree."""
    return column if agrees.all() else column.take(pa.array(np.arange(len(agrees)), mask=~agrees))


def _counts(texts: pa.ChunkedArray) -> dict[str, int]:
    counted = {entry["values"]: entry["counts"] for entry in texts.drop_null().value_counts().to_pylist()}
    return dict(sorted(counted.items()))


def ids_in(place: Place | None) -> pa.Array | None:
    """The ids of a Parquet file of them, all at once."""
    if place is None:
        return None
    with place.open() as file:
        return pq.read_table(file).column(ID).combine_chunks()


def _where(mask: pa.Array) -> NDArray[np.intp]:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))
