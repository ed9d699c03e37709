"""Reads mapped columns: each must exist and mean what the project file says it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.datatypes as dt

from features.engine import run
from features.errors import TableError

# Money is summed as decimals: a full refund nets to exactly zero, and no order of rows changes a sum.
MONEY = dt.Decimal(18, 4)
# Features are float32.
LARGEST = 3.4e38


@dataclass(frozen=True)
class Columns:
    """The columns of one table, by the key that maps them. Each method raises TableError naming that key."""

    table: ibis.Table
    section: str

    def column(self, key: str, name: str) -> Any:  # noqa: ANN401 - Ibis ships no types
        """The column as it is; it must exist."""
        if name not in self.table.columns:
            have = ", ".join(self.table.columns)
            problem = f"is {name!r}, a column that does not exist"
            raise TableError(f"{self.section}.{key}", problem, f"The table's columns are: {have}")
        return self.table[name]

    def identity(self, key: str, name: str) -> ibis.Value:
        """Whose row it is: text or whole numbers, for the same customer must read the same everywhere.

        An empty text names nobody.
        """
        column = self.column(key, name)
        dtype = column.type()
        whole = dtype.is_integer() or (dtype.is_decimal() and dtype.scale == 0)
        if not (whole or dtype.is_string() or dtype.is_uuid()):
            raise self._wrong(key, name, dtype, "text or whole numbers")
        return column if dtype.is_integer() else column.cast("string").nullif("")

    def moment(self, key: str, name: str) -> ibis.Value:
        """When: naive timestamps, UTC where the column knows its zone. ISO texts are parsed."""
        column = self.column(key, name)
        dtype = column.type()
        if dtype.is_string():
            self._require_iso(key, name)
        elif not (dtype.is_timestamp() or dtype.is_date()):
            raise self._wrong(key, name, dtype, "timestamps or dates")
        return column if dtype.is_timestamp() and not dtype.timezone else column.cast("timestamp")

    def number(self, key: str, name: str) -> ibis.Value:
        """How much: whole numbers stay whole, so that their sums stay exact; what is no float32 counts as missing."""
        column = self.column(key, name)
        dtype = column.type()
        if not dtype.is_numeric() or dtype.is_boolean():
            raise self._wrong(key, name, dtype, "numbers")
        if dtype.is_integer():
            return column
        number = column.cast("float64")
        return ibis.ifelse(number.isnan() | (number.abs() > LARGEST), None, number)

    def money(self, key: str, name: str) -> ibis.Value:
        """How much money, to four decimals; what is no amount, such as an infinity, counts as missing.

        DuckDB 2.0 also casts the extremes that a Parquet file states for a column. Where one of them is NaN, a
        plain cast fails although no row that reaches it is.
        """
        return self.number(key, name).try_cast(MONEY)

    def flag(self, key: str, name: str) -> ibis.Value:
        """Yes or no: booleans, or whole numbers that are 0 or 1."""
        column = self.column(key, name)
        dtype = column.type()
        if dtype.is_boolean():
            return column
        if not dtype.is_integer():
            raise self._wrong(key, name, dtype, "booleans, or 0 and 1")
        strange = self._first(column.notin([0, 1]), column)
        if strange is not None:
            problem = f"is {name!r}, which holds {strange}"
            raise TableError(f"{self.section}.{key}", problem, "Map a column of booleans, or of 0 and 1")
        return column == 1

    def text(self, key: str, name: str) -> ibis.Value:
        """A name of something."""
        return self.column(key, name).cast("string")

    def attribute(self, name: str) -> ibis.Value:
        """A model's input: a number, or a text."""
        column = self.column("attributes", name)
        dtype = column.type()
        if dtype.is_boolean():
            return column.cast("int8")
        if dtype.is_numeric():
            return self.number("attributes", name)
        if dtype.is_string():
            return column
        raise self._wrong("attributes", name, dtype, "numbers or texts")

    def require_unique(self, key: str, name: str) -> None:
        """Each value stands in one row only; else a join would multiply the rows of other tables."""
        column = self.column(key, name)
        counts = self.table.filter(column.notnull()).group_by(value=column).aggregate(rows=ibis._.count())
        repeated = run(counts.filter(counts.rows > 1).limit(1)).to_pylist()
        if repeated:
            problem = f"is {name!r}, where {repeated[0]['value']!r} stands in {repeated[0]['rows']} rows"
            raise TableError(f"{self.section}.{key}", problem, "Keep one row each")

    def _require_iso(self, key: str, name: str) -> None:
        column = self.table[name]
        strange = self._first(column.notnull() & column.try_cast("timestamp").isnull(), column)
        if strange is not None:
            problem = f"is {name!r}, which holds {strange!r} where a timestamp is needed"
            remedy = "Write timestamps as 2017-12-31 23:59:59, or map a timestamp column"
            raise TableError(f"{self.section}.{key}", problem, remedy)

    def _first(self, condition: ibis.Value, column: ibis.Value) -> Any:  # noqa: ANN401 - a value of the table
        rows = run(self.table.filter(condition).select(value=column).limit(1)).to_pylist()
        return rows[0]["value"] if rows else None

    def _wrong(self, key: str, name: str, dtype: dt.DataType, needed: str) -> TableError:
        if dtype.is_string() and not run(self.table.limit(1)):
            # Without a row, a CSV file is all text.
            return TableError(f"{self.section}.source", "holds no row", "Map a table that has some")
        problem = f"is {name!r}, a column of {dtype} where {needed} are needed"
        return TableError(f"{self.section}.{key}", problem, "Map another column, or cast this one in a view")
