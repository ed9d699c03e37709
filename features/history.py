"""What had happened before a moment, gathered into the rows that features are counted over.

Only rows with `time < as_of` pass `known_by`, and nothing else here reads a table: that is the whole of the
point-in-time law. Every row leaves with `age`, the days it lies back, so that no feature meets a date.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import ibis
from ibis import _

SECONDS_A_DAY = 86_400
FIRST_WEEKEND_DAY = 5
RECENT_DAYS = 90


def moment(as_of: dt.date) -> Any:  # noqa: ANN401 - Ibis ships no types
    """A naive timestamp: the instant itself, or the midnight a date begins with."""
    return ibis.literal(as_of, "timestamp")


def known_by(table: ibis.Table, as_of: dt.date) -> ibis.Table:
    """The rows that had happened before `as_of`, with `age`: how many days before, with fractions."""
    known = table.filter(table.time < moment(as_of))
    return known.mutate(age=days_since(known.time, as_of))


def days_since(time: Any, as_of: dt.date) -> Any:  # noqa: ANN401 - as above
    """How many days before `as_of`, with fractions. Some engines keep parts of a second; none gets to."""
    seconds = moment(as_of).epoch_seconds() - time.epoch_seconds()
    return seconds.cast("float64").ceil() / SECONDS_A_DAY


def tomorrow() -> dt.datetime:
    """After everything that can have been observed; rows dated later are mistakes of the source."""
    midnight = dt.datetime.now(tz=dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.replace(tzinfo=None) + dt.timedelta(days=1)


def ledger(transactions: ibis.Table, as_of: dt.date) -> ibis.Table:
    """One row an order or a refund: customer, refund, age, money, gap, last, and what else is mapped.

    A refund is a row of its own at its own time, and never an order. `gap` is the days since the customer's
    order before, `last` marks the newest order.
    """
    return _with_sequence(_totals(known_by(transactions, as_of)))


def recent_lines(transactions: ibis.Table, as_of: dt.date) -> ibis.Table:
    """The lines of the last 90 days that are no refunds, with their age."""
    return _purchased(known_by(transactions, as_of)).filter(_.age <= RECENT_DAYS)


def responses(table: ibis.Table, as_of: dt.date) -> ibis.Table:
    """One row a response to a campaign, with its age."""
    return known_by(table, as_of)


def purchase_days(transactions: ibis.Table, as_of: dt.date) -> ibis.Table:
    """One row a customer, category and day of a purchase: customer, category, day, age of the newest line."""
    lines = _purchased(known_by(transactions, as_of))
    return lines.group_by("customer", "category", day=lines.time.date()).aggregate(age=_.age.min())


def categories(transactions: ibis.Table, as_of: dt.date) -> ibis.Table:
    """One row a customer and category: customer, name, rows, age of the newest line, place (0 is most lines)."""
    return _tally(_purchased(known_by(transactions, as_of)), "category")


def channels(transactions: ibis.Table, as_of: dt.date) -> ibis.Table:
    """One row a customer and channel: customer, name, rows, age of the newest order, place (0 is most orders)."""
    return _tally(_purchased(ledger(transactions, as_of)), "channel")


def events(table: ibis.Table, as_of: dt.date) -> ibis.Table:
    """One row an event, with its age."""
    return known_by(table, as_of)


def subscriptions(table: ibis.Table, as_of: dt.date) -> ibis.Table:
    """One row a subscription that had started, with its age. Ends are not told: some lie in the future."""
    return known_by(table.select("customer", time="start"), as_of)


def _purchased(rows: ibis.Table) -> ibis.Table:
    return rows.filter(~_.refund)


def _totals(lines: ibis.Table) -> ibis.Table:
    """Lines to orders and refunds. Without an order number, a customer's day is the order."""
    day = lines.time.date()
    if "order" in lines.columns:
        keys = {"order": lines.order, "day": ibis.ifelse(lines.order.isnull(), day, None)}
    else:
        keys = {"day": day}
    totals = {
        "time": _.time.min(),
        "age": _.age.max(),
        "lines": _.count(),
        "money": _.amount.sum().fill_null(0),
        "items": _.quantity.sum() if "quantity" in lines.columns else None,
        "discount": _.discount.sum() if "discount" in lines.columns else None,
        "channel": _.channel.max() if "channel" in lines.columns else None,
    }
    return lines.group_by(
        "customer", "refund", **keys, refunded_at=ibis.ifelse(lines.refund, lines.time, None)
    ).aggregate(**{name: total for name, total in totals.items() if total is not None})


def _with_sequence(totals: ibis.Table) -> ibis.Table:
    same_kind = ibis.window(group_by=["customer", "refund"])
    in_order = ibis.window(group_by=["customer", "refund"], order_by=ibis.desc("age"))
    return totals.mutate(
        gap=ibis.ifelse(_.refund, None, _.age.lag().over(in_order) - _.age),
        last=~_.refund & (_.age == _.age.min().over(same_kind)),
        day=_.time.date(),
        weekend=_.time.day_of_week.index() >= FIRST_WEEKEND_DAY,
    )


def _tally(rows: ibis.Table, column: str) -> ibis.Table:
    """Counts decide the place and names break ties, so that the same rows give the same favourite everywhere."""
    named = rows.filter(rows[column].notnull()).group_by("customer", name=column)
    counted = named.aggregate(rows=_.count(), age=_.age.min())
    by_count = ibis.window(group_by="customer", order_by=[ibis.desc("rows"), ibis.asc("name")])
    return counted.mutate(place=ibis.row_number().over(by_count))
