"""Scores as one table: the parts of complete runs, read where they are, and customers of several runs joined by id.

DuckDB reads, joins and sorts, with little memory and what does not fit on disk. Queries are put together out of
expressions and never of text, so that nobody's words can become part of one.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import duckdb
import fsspec
import pyarrow as pa
from duckdb import CaseExpression, CoalesceOperator, ColumnExpression, ConstantExpression, FunctionExpression

from services.batch.answers import status_column
from services.batch.errors import BatchError
from services.batch.filters import Terms
from services.batch.rejected import ID
from services.batch.run import FORMAT, MANIFEST_FILE, RUN_FILE
from services.batch.shards import part_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.batch.filters import Kind, Top
    from services.batch.place import Place

VALUE_AT_RISK = "value_at_risk"
"""What is expected to be lost with a customer, in money: the probability of leaving times the value expected."""

FACTORS = ("churn_probability", "expected_value")
"""Of the value at risk."""

MARK = "regulars.mark"
"""A column of queries, which no score and no feature is called."""

FLOATS = frozenset({"FLOAT", "DOUBLE"})

MEMORY = "1GB"
"""What DuckDB may hold; beyond it goes to disk."""


class ExportError(BatchError):
    """A list that cannot be made. Says what to do."""


@dataclass(frozen=True)
class ScoredFolder:
    """A complete run. `digest` is the SHA-256 of its manifest."""

    place: Place
    manifest: dict[str, Any] = field(repr=False)
    digest: str

    @classmethod
    def at(cls, place: Place) -> Self:
        content = (place / MANIFEST_FILE).read()
        if content is None and (place / RUN_FILE).exists():
            raise ExportError(f"the run in {place} is not complete; run the same 'regulars score' again to finish it")
        if content is None:
            raise ExportError(f"{place} holds no scores; give the --output of a 'regulars score'")
        try:
            manifest = json.loads(content)
        except ValueError as error:
            raise ExportError(f"{place / MANIFEST_FILE} is damaged; run its 'regulars score' with --restart") from error
        if manifest.get("format") != FORMAT:
            raise ExportError(f"another release scored {place}; run its 'regulars score' with --restart")
        return cls(place, manifest, hashlib.sha256(content).hexdigest())

    @property
    def parts(self) -> list[str]:
        found = set(self.place.names())
        names = [part_name(number) for number in range(self.manifest["parts"])]
        gone = [name for name in names if name not in found]
        if gone:
            raise ExportError(f"{self.place} has lost {gone[0]}; run its 'regulars score' with --restart")
        return [part.path if part.is_local else str(part) for part in (self.place / name for name in names)]


@contextmanager
def opened(folders: Sequence[ScoredFolder]) -> Iterator[Scores]:
    """Scores of one or more folders, which are of different models.

    Raises:
        ExportError: they are not, or a part is gone.
        duckdb.Error: they cannot be read.
    """
    _require_different(folders)
    with tempfile.TemporaryDirectory(prefix="regulars-export-") as spilled:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "temp_directory": spilled,
            "preserve_insertion_order": False,
            # Nothing is fetched from anywhere.
            "autoinstall_known_extensions": False,
        }
        with duckdb.connect(config=settings) as database:
            yield Scores(folders, database)


class Scores:
    """A row for each customer. `types` are DuckDB's names of them, by column."""

    def __init__(self, folders: Sequence[ScoredFolder], database: duckdb.DuckDBPyConnection) -> None:
        self.folders = folders
        self._database = database
        self.table = _derived(_joined([self._read(folder) for folder in folders]))
        self.types = _types(self.table)

    @cached_property
    def terms(self) -> Terms:
        values: dict[str, set[str]] = {}
        for folder in self.folders:
            for column, counts in folder.manifest["bands"].items():
                values.setdefault(column, set()).update(counts)
            for model, counts in folder.manifest["statuses"].items():
                values.setdefault(status_column(model), set()).update(counts)
        kinds: dict[str, Kind] = {name: _kind(found) for name, found in self.types.items()}
        return Terms(kinds, {column: sorted(found) for column, found in values.items()})

    @property
    def statuses(self) -> list[str]:
        return [status_column(model) for folder in self.folders for model in folder.manifest["models"]]

    def column(self, name: str) -> str:
        found = self.terms.column(name)
        if found is None:
            raise ExportError(f"there is no column {name}; there are {self.terms.listed()}")
        return found

    def marked(self, **marks: frozenset[str]) -> duckdb.DuckDBPyRelation:
        """The table with a column MARK: the first of `marks` whose ids hold the customer's."""
        first = {customer: mark for mark, ids in reversed(marks.items()) for customer in ids}
        columns = {ID: pa.array(first, pa.string()), MARK: pa.array(first.values(), pa.string())}
        return self.table.set_alias("scores").join(self._database.from_arrow(pa.table(columns)), ID, how="left")

    def least(self, top: Top) -> float:
        """The number of the last customer within a share of all who have one."""
        column = ColumnExpression(top.column)
        ((count,),) = self.table.aggregate([FunctionExpression("count", column)]).fetchall()
        if not count:
            raise ExportError(f"no customer has a {top.column}; see their statuses in the manifest of the scores")
        known = self.table.filter(column.isnotnull()).select(column).sort(column.desc())
        ((text,),) = known.limit(1, offset=top.percent.of(count) - 1).select(column.cast("VARCHAR")).fetchall()
        return float(text)

    def require_unchanged(self) -> None:
        for folder in self.folders:
            content = (folder.place / MANIFEST_FILE).read() or b""
            if hashlib.sha256(content).hexdigest() != folder.digest:
                raise ExportError(f"the scores in {folder.place} changed meanwhile; export again")

    @property
    def usual_columns(self) -> list[str]:
        """What models say, without statuses, which hardly differ on a list, and without features."""
        carried = {name for folder in self.folders for name in folder.manifest["carried"]}
        return [name for name in self.types if name not in carried and name not in self.statuses]

    def _read(self, folder: ScoredFolder) -> duckdb.DuckDBPyRelation:
        if not folder.place.is_local:
            files, _ = fsspec.core.url_to_fs(str(folder.place))
            protocols = [files.protocol] if isinstance(files.protocol, str) else files.protocol
            if not self._database.filesystem_is_registered(protocols[0]):
                self._database.register_filesystem(files)
        # A folder called month=5 is no column.
        return self._database.read_parquet(folder.parts, hive_partitioning=False)


def _require_different(folders: Sequence[ScoredFolder]) -> None:
    seen: dict[str, Place] = {}
    for folder in folders:
        for model in folder.manifest["models"]:
            if model in seen:
                raise ExportError(f"{seen[model]} and {folder.place} are both scores of {model}; give one of them")
            seen[model] = folder.place


def _joined(tables: Sequence[duckdb.DuckDBPyRelation]) -> duckdb.DuckDBPyRelation:
    """Everybody of all tables. Of a feature that stands in two of them the first is taken."""
    joined = tables[0]
    for table in tables[1:]:
        owners = {name: ["one"] for name in joined.columns}
        for name in table.columns:
            owners.setdefault(name, []).append("other")
        columns = (
            CoalesceOperator(*(ColumnExpression(owner, name) for owner in found)).alias(name)
            for name, found in owners.items()
        )
        joined = joined.set_alias("one").join(table.set_alias("other"), ID, how="outer").select(*columns)
    return joined


def _derived(table: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """With the value at risk; what is not known is null, and not NaN, which DuckDB takes for the highest number."""
    columns = [_known(name) if kind in FLOATS else ColumnExpression(name) for name, kind in _types(table).items()]
    if set(FACTORS) <= set(table.columns) and VALUE_AT_RISK not in table.columns:
        probability, value = map(ColumnExpression, FACTORS)
        columns.insert(1, (probability * value).alias(VALUE_AT_RISK))
    return table.select(*columns)


def _types(table: duckdb.DuckDBPyRelation) -> dict[str, str]:
    return dict(zip(table.columns, map(str, table.types), strict=True))


def _known(name: str) -> duckdb.Expression:
    column = ColumnExpression(name)
    return CaseExpression(FunctionExpression("isnan", column), ConstantExpression(None)).otherwise(column).alias(name)


def _kind(of: str) -> Kind:
    kinds: dict[str, Kind] = {"VARCHAR": "text", "BOOLEAN": "flag"}
    return kinds.get(of, "number")
