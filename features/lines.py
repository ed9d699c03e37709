"""Lines that can be read and would still count wrongly: most of them yet to come, or the same ones exported twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibis import _

from features.engine import run
from features.errors import TableError
from features.history import moment, tomorrow
from features.sections import DROP, KEEP

if TYPE_CHECKING:
    import ibis

TOLERATED = 0.01
"""The share of lines that may repeat another unremarked. Two equal items on one receipt make a few in a thousand, and
so do two equal purchases of one day where receipts are not told apart; exports that overlap make far more."""

MOST = 0.5

TELLING = ("order", "product")
"""Columns that tell lines apart."""


def require_past(lines: ibis.Table) -> None:
    """Raises TableError where most lines are dated after today; a few are slips, which nothing reads."""
    counts = lines.aggregate(rows=_.count(), future=_.count(where=_.time >= moment(tomorrow())))
    found = run(counts).to_pylist()[0]
    if found["future"] > MOST * found["rows"]:
        problem = f"dates {found['future']:,} of {found['rows']:,} lines after today"
        raise TableError("tables.transactions.time", problem, "Map when customers paid, or correct the dates")


def counted_once(lines: ibis.Table, source: ibis.Table, duplicates: str | None) -> ibis.Table:
    """The lines, by the project's rule for those that repeat another in every mapped column.

    Args:
        lines: the canonical lines.
        source: the rows that they were made of, with all columns.
        duplicates: the rule, or None.

    Raises:
        TableError: there are many of them, and the project has no rule.
    """
    if duplicates is None:
        _require_few_repeated(lines, source)
    return lines.distinct() if duplicates == DROP else lines


def _require_few_repeated(lines: ibis.Table, source: ibis.Table) -> None:
    rows, repeated = _repeated(lines)
    if repeated > TOLERATED * rows:
        problem = (
            f"is not set, and {repeated:,} of {rows:,} lines ({repeated / rows:.0%}) repeat another in every mapped "
            f"column, {_repeated(source)[1]:,} in every column there is"
        )
        remedy = f"Set it to '{DROP}' if they were exported twice, or to '{KEEP}' if each is a line of its own"
        if untold := [f"tables.transactions.{name}" for name in TELLING if name not in lines.columns]:
            remedy += f"; or map {' and '.join(untold)}, without which equal amounts of one moment look alike"
        raise TableError("tables.transactions.duplicates", problem, remedy)


def _repeated(table: ibis.Table) -> tuple[int, int]:
    """How many rows there are, and how many of them repeat another."""
    different = table.distinct().aggregate(different=_.count())
    counts = run(table.aggregate(rows=_.count()).cross_join(different)).to_pylist()[0]
    return counts["rows"], counts["rows"] - counts["different"]
