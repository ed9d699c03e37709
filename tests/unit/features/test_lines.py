"""Lines that would count wrongly: where they are refused, what is then said, and what the project may answer."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
import pytest

from features.errors import TableError
from features.project import Tables
from features.sections import Transactions
from features.snapshot import snapshot, to_arrow
from features.tables import canonical_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from features.tables import CustomerTables

Line = tuple[str | None, dt.datetime | None, float, str]
"""Who, when, how much, what."""

NEW_YEAR = dt.datetime.fromisoformat("2024-01-01")
FUTURE = dt.datetime.fromisoformat("2999-01-01")
AS_OF = dt.date(2025, 1, 1)


def opened(lines: Sequence[Line], **mapped: Any) -> CustomerTables:
    """The shop of these lines; the product is mapped where `mapped` says so."""
    who, when, paid, thing = zip(*lines, strict=True)
    table = pa.table(
        {"who": pa.array(who, pa.string()), "at": pa.array(when, pa.timestamp("us")), "paid": paid, "thing": thing}
    )
    mapping = Tables(transactions=Transactions("", "who", "at", "paid", **mapped))
    return canonical_tables(mapping, {"transactions": ibis.memtable(table)})


def spent(tables: CustomerTables) -> dict[str, float]:
    table = to_arrow(snapshot(tables, AS_OF))
    return dict(zip(table["customer_id"].to_pylist(), table["monetary"].to_pylist(), strict=True))


def days(count: int) -> list[Line]:
    return [("ann", NEW_YEAR + dt.timedelta(days=day), 1.0, "tea") for day in range(count)]


def test_one_line_in_a_hundred_may_repeat_another() -> None:
    once = days(99)
    assert spent(opened([*once, once[0]])) == {"ann": 100}
    with pytest.raises(TableError, match=r"2 of 100 lines \(2%\) repeat .* column, 2 in every column there") as refused:
        opened([*once[:98], once[0], once[1]])
    assert refused.value.key == "tables.transactions.duplicates"
    assert "Set it to 'drop' if they were exported twice, or to 'keep'" in str(refused.value)


def test_a_line_that_comes_three_times_repeats_twice() -> None:
    with pytest.raises(TableError, match="2 of 3 lines"):
        opened(days(1) * 3)


def test_the_project_says_what_they_are() -> None:
    twice = days(10) * 2
    assert spent(opened(twice, duplicates="keep")) == {"ann": 20}
    assert spent(opened(twice, duplicates="drop")) == {"ann": 10}


def test_lines_that_a_mapped_column_tells_apart_repeat_nothing() -> None:
    lines = [*days(10), *((who, when, paid, "cake") for who, when, paid, _ in days(10))]
    with pytest.raises(TableError, match=r"\(50%\) repeat another in every mapped column, 0 in every col") as refused:
        opened(lines)
    assert "or map tables.transactions.order and tables.transactions.product, without which" in str(refused.value)
    assert spent(opened(lines, product="thing")) == {"ann": 20}


def test_no_column_is_advised_that_is_mapped() -> None:
    with pytest.raises(TableError, match=r"line of its own\.$"):
        opened(days(1) * 2, order="paid", product="thing")


def test_guests_and_undated_lines_repeat_nothing() -> None:
    guests: list[Line] = [(None, NEW_YEAR, 1.0, "tea")] * 9 + [("bob", None, 1.0, "tea")] * 9
    assert spent(opened([*days(1), *guests])) == {"ann": 1}


def test_a_few_lines_of_the_future_are_slips_that_nothing_reads() -> None:
    slips = [("ann", FUTURE, 50.0, "tea"), ("bob", FUTURE, 50.0, "tea")]
    assert spent(opened([*days(2), *slips])) == {"ann": 2}


def test_a_table_that_mostly_lies_in_the_future_is_refused() -> None:
    slips = [("ann", FUTURE + dt.timedelta(days=day), 1.0, "tea") for day in range(1200)]
    with pytest.raises(TableError, match="dates 1,200 of 1,202 lines after today") as refused:
        opened([*days(2), *slips])
    assert refused.value.key == "tables.transactions.time"
