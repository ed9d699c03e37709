"""Point-in-time snapshots: everything known before a moment, and, to learn from, what followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from ibis import _

from features.behaviour import behaviour
from features.engine import run
from features.errors import TableError, TooLittleError
from features.history import moment, tomorrow

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from features.tables import CustomerTables


def snapshot(tables: CustomerTables, as_of: dt.date) -> ibis.Table:
    """What scoring needs: one row for every customer with an order before `as_of`.

    Without a time axis, one row for every row of the customers table. Where consent is mapped, a customer who did not
    give it is named, so that scoring can answer for everybody, and nothing else is told of them.

    Returns:
        `customer_id` (text), `consent` (boolean) where it is mapped, then the features in the order of
        `feature_specs`.
    """
    return _identified(_with_consent(behaviour(tables, as_of), tables))


def labelled_snapshot(tables: CustomerTables, as_of: dt.date, answers: ibis.Table) -> ibis.Table:
    """What training needs: the snapshot's rows of the customers in `answers`, who consent, and the answers.

    Args:
        tables: the canonical tables.
        as_of: the moment that features stand at.
        answers: `customer` and labels, of `features.labels`. They are only true where the data reaches the end of
            their horizon; see `data_window`.

    Returns:
        `customer_id` (text), the features, the labels.
    """
    return _identified(_consenting(behaviour(tables, as_of), tables).inner_join(answers, "customer"))


def asked_about(tables: CustomerTables, answers: Sequence[ibis.Table], last: dt.date) -> ibis.Table:
    """Everybody who is in any of these answers, consents, and has a row in a snapshot: `customer`, each once.

    `last` is the date of the last of the answers.
    """
    first, *others = (one.select("customer") for one in answers)
    asked = _consenting(ibis.union(first, *others).distinct() if others else first, tables)
    if tables.subscriptions is None or tables.transactions is None:
        return asked
    # A subscriber who has not ordered has no row, as `behaviour` makes them.
    ordered = tables.transactions.filter(~_.refund, _.time < moment(last))
    return asked.semi_join(ordered, "customer")


def data_window(tables: CustomerTables) -> tuple[dt.datetime, dt.datetime]:
    """The first and the last time of an order, both naive. Rows dated after today do not count.

    Refunds do not count either: where they go on after the last order, as in an export of a shop that has closed, every
    customer would seem to have stopped buying.

    Raises:
        TooLittleError: transactions are not mapped.
        TableError: transactions cannot be read, or hold no order of the past.
    """
    if tables.transactions is None:
        raise TooLittleError("tables.transactions", "is not mapped, and no other table has a window", "Map it")
    past = tables.transactions.filter(~_.refund, _.time < moment(tomorrow()))
    window = run(past.aggregate(first=_.time.min(), last=_.time.max())).to_pylist()[0]
    if window["first"] is None:
        raise TableError("tables.transactions", "holds no order of the past", "Map a table that has some")
    return window["first"], window["last"]


def to_arrow(rows: ibis.Table) -> pa.Table:
    """Run a snapshot. The same data gives the same table, whatever the engine and its order of rows.

    Returns:
        Rows sorted by `customer_id`. A missing number is NaN, never null; a missing category is null.

    Raises:
        TableError: the engine cannot read a table.
    """
    table = run(rows).sort_by("customer_id").combine_chunks()
    for index, column in enumerate(table.schema):
        if pa.types.is_float32(column.type):
            numbers = pc.fill_null(table[column.name], float("nan"))
            table = table.set_column(index, pa.field(column.name, pa.float32()), numbers)
    return table


def _with_consent(rows: ibis.Table, tables: CustomerTables) -> ibis.Table:
    """Everybody, with `consent`; the features of those who gave none are missing."""
    agreed = _agreed(tables)
    if agreed is None:
        return rows
    joined = rows.left_join(agreed, "customer").drop("customer_right").mutate(consent=_.consent.fill_null(False))
    told = {name: ibis.ifelse(joined.consent, joined[name], None) for name in rows.columns if name != "customer"}
    return joined.select("customer", "consent", **told)


def _consenting(rows: ibis.Table, tables: CustomerTables) -> ibis.Table:
    agreed = _agreed(tables)
    return rows if agreed is None else rows.semi_join(agreed, "customer")


def _agreed(tables: CustomerTables) -> ibis.Table | None:
    """Who said yes, where the project maps consent; neither silence nor being unknown is consent."""
    customers = tables.customers
    if customers is None or "consent" not in customers.columns:
        return None
    return customers.filter(_.consent.fill_null(False)).select("customer", "consent")


def _identified(rows: ibis.Table) -> ibis.Table:
    """Ids leave as text; within, they keep the type the engine groups fastest by."""
    others = [name for name in rows.columns if name != "customer"]
    return rows.select(*others, customer_id=rows.customer.cast("string")).relocate("customer_id")
