"""Lists out of scores: who is chosen, in what order, with what beside their ids, for the tools that write to them."""

from __future__ import annotations

import csv
import io
import json
import operator
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import reduce
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from duckdb import CaseExpression, CoalesceOperator, ColumnExpression, ConstantExpression, FunctionExpression

from model_registry.schema import Status
from services.batch.filters import All, AnyOf, Compare, Not, Percent, Top, changed, conditions, read_filter
from services.batch.rejected import ID
from services.batch.scored import MARK, VALUE_AT_RISK, ExportError, ScoredFolder, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyarrow import NativeFile

    from services.batch.filters import Condition, Filter
    from services.batch.place import Place
    from services.batch.scored import Scores

ORDERS = (VALUE_AT_RISK, "churn_probability", "purchase_probability", "expected_value")
"""The first of these that is there is the order of whoever asks for none."""

WRITTEN_ROWS = 50_000
"""Rows that are written at a time."""

VERDICT = "regulars.verdict"
"""A column of queries, which no score and no feature is called."""

COMPARISONS: dict[str, Callable[[duckdb.Expression, duckdb.Expression], duckdb.Expression]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

INTERRUPTED = "Query interrupted"
"""What DuckDB makes of Ctrl-C in the middle of a query."""

FORMULA = r"^[=+\-@\t\r]"
"""How texts begin that spreadsheets run as formulas."""


@dataclass(frozen=True)
class Wanted:
    """Which customers, in what order, with what.

    Without `where` everybody is chosen. `order_by` and `columns` are names as filters know them; empty they stand for
    the first of `ORDERS`, and for all scores. `names` maps columns of the list to what they are called there.
    `excepted` must not be contacted, and `forgotten` are gone.
    """

    where: str | None = None
    order_by: str = ""
    ascending: bool = False
    top: int | Percent | None = None
    columns: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    excepted: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Counts:
    """Each customer of the scores once, under the first that is true; `chosen` are left for the list."""

    forgotten: int = 0
    no_consent: int = 0
    excepted: int = 0
    without_score: int = 0
    not_chosen: int = 0
    chosen: int = 0

    @property
    def customers(self) -> int:
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Exported:
    """A list that was written, of `rows` customers.

    `where` has figures in place of shares. `columns` maps what the list's columns are called to what they are, and
    `formulas` counts ids in a CSV that a spreadsheet would run.
    """

    rows: int
    counts: Counts
    where: str
    order: str
    columns: dict[str, str]
    formulas: int


def export(folders: Sequence[Place], out: Place, wanted: Wanted) -> Exported:
    """Writes a list, and beside it in `<out>.json` where it comes from.

    Args:
        folders: complete runs of different models; their customers are joined by id, and none is lost.
        out: a file that ends in .csv or .parquet. It appears whole or not at all.
        wanted: who is to stand in it.

    Raises:
        ExportError: the scores are not complete, are damaged, or have not what is wanted.
        FilterError: `wanted.where` is wrong.
        OSError: the list cannot be written.
    """
    write = _writer(out)
    with _told(folders), opened([ScoredFolder.at(place) for place in folders]) as scores:
        choice = _Choice(scores, wanted)
        columns = _columns(scores, wanted)
        counts = choice.counts()
        most = wanted.top.of(counts.chosen) if isinstance(wanted.top, Percent) else wanted.top
        rows = counts.chosen if most is None else min(most, counts.chosen)
        out.parent.make_folder()
        with out.writing() as file:
            formulas = write(choice.rows(columns, most), columns, file)
            scores.require_unchanged()
            made = Exported(rows, counts, choice.where, choice.order, columns, formulas)
            # No list without it: it is what tells others that the file is a list.
            (out.parent / f"{out.name}.json").write(_provenance(made, scores.folders, wanted))
    return made


class _Choice:
    """Who of the scores is on the list, and in what order."""

    def __init__(self, scores: Scores, wanted: Wanted) -> None:
        self._scores = scores
        self._filter = None
        if wanted.where is not None:
            self._filter = changed(read_filter(wanted.where, scores.terms), self._settled)
        asked = [condition.column for condition in conditions(self._filter)] if self._filter else []
        self._order = scores.column(wanted.order_by) if wanted.order_by else _usual_order(asked, scores)
        self._ascending = wanted.ascending or (self._order == ID and not wanted.order_by)
        self._needed = dict.fromkeys([*asked, self._order])
        marked = scores.marked(forgotten=wanted.forgotten, excepted=wanted.excepted)
        self._judged = marked.select(*map(ColumnExpression, scores.types), self._verdict().alias(VERDICT))

    @property
    def where(self) -> str:
        return str(self._filter or "")

    @property
    def order(self) -> str:
        return f"{self._order} {'ascending' if self._ascending else 'descending'}"

    def counts(self) -> Counts:
        found = self._judged.aggregate([ColumnExpression(VERDICT), FunctionExpression("count", ColumnExpression(ID))])
        return Counts(**dict(found.fetchall()))

    def rows(self, columns: Mapping[str, str], most: int | None) -> pa.RecordBatchReader:
        """The list. Equals stand by id, so that the same scores give the same list."""
        order = ColumnExpression(self._order)
        sorting = order.asc() if self._ascending else order.desc()
        rows = self._judged.filter(ColumnExpression(VERDICT) == ConstantExpression("chosen"))
        if most is not None:
            # Whole rows are sorted only of those who may be on the list.
            for (last,) in rows.select(order).sort(sorting).limit(1, offset=max(0, most - 1)).fetchall():
                rows = rows.filter(COMPARISONS["<=" if self._ascending else ">="](order, ConstantExpression(last)))
        rows = rows.select(*map(ColumnExpression, dict.fromkeys([*columns.values(), self._order, ID])))
        rows = rows.sort(sorting, ColumnExpression(ID))
        return _renamed((rows if most is None else rows.limit(most)).to_arrow_reader(WRITTEN_ROWS), columns)

    def _verdict(self) -> duckdb.Expression:
        """A field of `Counts` for each customer."""
        silent = (_is(name, Status.NO_CONSENT.name) for name in self._scores.statuses)
        lacking = (ColumnExpression(name).isnull() for name in self._needed)
        chosen = self._condition(self._filter) if self._filter else ConstantExpression(True)
        return (
            CaseExpression(_is(MARK, "forgotten"), ConstantExpression("forgotten"))
            .when(reduce(operator.or_, silent), ConstantExpression("no_consent"))
            .when(_is(MARK, "excepted"), ConstantExpression("excepted"))
            .when(reduce(operator.or_, lacking), ConstantExpression("without_score"))
            .when(chosen, ConstantExpression("chosen"))
            .otherwise(ConstantExpression("not_chosen"))
        )

    def _condition(self, of: Filter) -> duckdb.Expression:
        match of:
            case Not(part):
                return ~self._condition(part)
            case All(parts):
                return reduce(operator.and_, map(self._condition, parts))
            case AnyOf(parts):
                return reduce(operator.or_, map(self._condition, parts))
            case Compare(column, sign, value):
                return COMPARISONS[sign](ColumnExpression(column), ConstantExpression(self._as_stored(column, value)))
            case _:
                return ColumnExpression(of.column)

    def _as_stored(self, column: str, value: float | str) -> float | str:
        """0.7 in float32 is a little less than 0.7, and a list shows it as 0.7."""
        if isinstance(value, str) or self._scores.types[column] != "FLOAT":
            return value
        with np.errstate(over="ignore"):
            return float(np.float32(value))

    def _settled(self, condition: Condition) -> Condition:
        """A share, made a figure."""
        if isinstance(condition, Top):
            return Compare(condition.column, ">=", self._scores.least(condition))
        return condition


def _columns(scores: Scores, wanted: Wanted) -> dict[str, str]:
    """Of the list: what they are called there, and which they are. Ids come first, if not elsewhere."""
    columns = [scores.column(name) for name in wanted.columns] or scores.usual_columns
    columns = columns if ID in columns else [ID, *columns]
    names = {scores.column(column): name for column, name in wanted.names.items()}
    for column, name in names.items():
        if column not in columns:
            raise ExportError(f"{column} is to be called {name} and is not on the list; add it to --columns")
    listed = {names.get(column, column): column for column in columns}
    if len(listed) < len(columns):
        raise ExportError("two columns of the list have the same name; give each its own with --as")
    return listed


def _renamed(rows: pa.RecordBatchReader, columns: Mapping[str, str]) -> pa.RecordBatchReader:
    """The columns of the list alone, under their names."""
    schema = pa.schema([rows.schema.field(column).with_name(name) for name, column in columns.items()])
    listed = (batch.select(list(columns.values())).rename_columns(list(columns)) for batch in rows)
    return pa.RecordBatchReader.from_batches(schema, listed)


def _usual_order(asked: Iterable[str], scores: Scores) -> str:
    """Whoever asks for a status asks for customers without scores, who have no order but that of their ids."""
    if set(asked) & set(scores.statuses):
        return ID
    return next((name for name in ORDERS if name in scores.types), ID)


def _is(column: str, value: str) -> duckdb.Expression:
    """False too where the column is null."""
    return CoalesceOperator(ColumnExpression(column) == ConstantExpression(value), ConstantExpression(False))


def _writer(out: Place) -> Writer:
    for suffix, writer in WRITERS.items():
        if out.name.endswith(suffix):
            return writer
    raise ExportError(f"{out} must end in {' or '.join(WRITERS)}")


def _write_csv(rows: pa.RecordBatchReader, columns: Mapping[str, str], file: NativeFile) -> int:
    """RFC 4180 in UTF-8. Returns how many ids a spreadsheet would run as formulas.

    Other texts that it would run get an apostrophe before them; another id would be another customer.
    """
    formulas = 0
    file.write(_lines([columns]))
    for batch in rows:
        texts = []
        for values, column in zip(batch.columns, columns.values(), strict=True):
            if column == ID:
                formulas += pc.sum(pc.match_substring_regex(values, FORMULA)).as_py()
            texts.append((values if column == ID else _harmless(values)).cast(pa.string()).to_pylist())
        file.write(_lines(zip(*texts, strict=True)))
    return formulas


def _write_parquet(rows: pa.RecordBatchReader, _columns: Mapping[str, str], file: NativeFile) -> int:
    """Returns 0: no spreadsheet runs what it knows to be text."""
    with pq.ParquetWriter(file, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
    return 0


Writer = Callable[[pa.RecordBatchReader, Mapping[str, str], "NativeFile"], int]

WRITERS: dict[str, Writer] = {".csv": _write_csv, ".parquet": _write_parquet}
"""By the end of the list's name. Each writes the rows of the list, of which `columns` says what they are."""


def _lines(rows: Iterable[Iterable[str | None]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _harmless(values: pa.Array) -> pa.Array:
    if not pa.types.is_string(values.type):
        return values
    runs = pc.match_substring_regex(values, FORMULA)
    return pc.if_else(runs, pc.binary_join_element_wise("'", values, ""), values)


def _provenance(made: Exported, folders: Sequence[ScoredFolder], wanted: Wanted) -> bytes:
    """What somebody who finds the list asks: of whom it is, and why."""
    said = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": made.rows,
        "asked": wanted.where,
        "where": made.where,
        "order": made.order,
        "top": None if wanted.top is None else str(wanted.top),
        "columns": made.columns,
        "customers": asdict(made.counts),
        "scores": [
            {
                "folder": str(folder.place),
                "manifest": folder.digest,
                "models": folder.manifest["models"],
                "finished": folder.manifest["finished"],
            }
            for folder in folders
        ],
    }
    return json.dumps(said, indent=1, ensure_ascii=False).encode() + b"\n"


@contextmanager
def _told(folders: Sequence[Place]) -> Iterator[None]:
    """What goes wrong in DuckDB, a damaged part or a full disk, as an answer."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise ExportError(f"no list can be made of {', '.join(map(str, folders))}: {error}") from error
    except RuntimeError as error:
        if str(error) == INTERRUPTED:
            raise KeyboardInterrupt from error
        raise
