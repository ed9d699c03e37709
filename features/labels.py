"""What customers did after a moment: the answers a model learns."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from ibis import _
from ibis import selectors as s

from features.errors import TooLittleError
from features.history import moment

if TYPE_CHECKING:
    import ibis

    from features.tables import CustomerTables


def churned(tables: CustomerTables, as_of: dt.date, *, horizon_days: int, active_days: int) -> ibis.Table:
    """Who was a customer at `as_of`, and who of them left within the horizon.

    Three sorts of business, told apart by what is mapped:

    - `customers.churned`: everybody whose answer is known; there is no time axis, and the days are not used.
    - subscriptions: whoever has one running at `as_of`; left when none runs at `as_of + horizon`, so that a
      renewal in between is no churn.
    - transactions alone: whoever ordered in the `active_days` before `as_of`; left when no order follows in
      `[as_of, as_of + horizon)`. Refunds are no orders.

    Returns:
        `customer`, `churned` (int8, 0 or 1): one row a customer.
    """
    close = as_of + dt.timedelta(days=horizon_days)
    if tables.answered is not None:
        answers = tables.answered.filter(_.churned.notnull()).select("customer", "churned")
    elif tables.subscriptions is not None:
        answers = _unsubscribed(tables.subscriptions, as_of, close)
    else:
        answers = _silent(tables.transactions, as_of, close, active_days)
    return answers.mutate(churned=answers.churned.cast("int8"))


def outcomes(tables: CustomerTables, as_of: dt.date, *, horizon_days: int) -> ibis.Table:
    """What everybody with an order before `as_of` did in `[as_of, as_of + horizon)`.

    Returns:
        One row a customer: `customer`; `purchased` (int8), whether an order followed; `revenue` (float64), the money of
        those days net of the refunds made in them, zero where refunds outweigh; `purchased[CATEGORY]` (int8) for
        each category of the tables; `responded` (int8), whether a response to a campaign followed, where
        responses are mapped.

    Raises:
        TooLittleError: transactions are not mapped.
    """
    if tables.transactions is None:
        raise TooLittleError("tables.transactions", "is not mapped, so nobody is known to have ordered", "Map it")
    close = as_of + dt.timedelta(days=horizon_days)
    followed = _.time >= moment(as_of)
    bought = followed & ~_.refund
    customers = (
        tables.transactions.filter(_.time < moment(close))
        .group_by("customer")
        .aggregate(
            known=(~followed & ~_.refund).any(),
            purchased=bought.any(),
            revenue=_.amount.sum(where=followed).fill_null(0).cast("float64").clip(lower=0.0),
            **{
                f"purchased[{category}]": (bought & (_.category == category).fill_null(False)).any()
                for category in tables.categories
            },
        )
        .filter(_.known)
        .drop("known")
    )
    if tables.responses is not None:
        customers = _with_responses(customers, tables.responses, as_of, close)
    return customers.mutate(s.across(s.of_type("boolean"), _.cast("int8")))


def _with_responses(customers: ibis.Table, responses: ibis.Table, as_of: dt.date, close: dt.date) -> ibis.Table:
    within = responses.filter(_.time >= moment(as_of), _.time < moment(close)).select("customer").distinct()
    joined = customers.left_join(within, "customer")
    return joined.mutate(responded=_.customer_right.notnull()).drop("customer_right")


def _silent(transactions: ibis.Table, as_of: dt.date, close: dt.date, active_days: int) -> ibis.Table:
    opened = as_of - dt.timedelta(days=active_days)
    lines = transactions.filter(~_.refund, _.time >= moment(opened), _.time < moment(close))
    customers = lines.group_by("customer").aggregate(
        active=(_.time < moment(as_of)).any(), churned=~(_.time >= moment(as_of)).any()
    )
    return customers.filter(_.active).drop("active")


def _unsubscribed(subscriptions: ibis.Table, as_of: dt.date, close: dt.date) -> ibis.Table:
    customers = subscriptions.group_by("customer").aggregate(
        active=_runs_at(subscriptions, as_of).any(), churned=~_runs_at(subscriptions, close).any()
    )
    return customers.filter(_.active).drop("active")


def _runs_at(subscriptions: ibis.Table, when: dt.date) -> ibis.Value:
    ends_later = subscriptions.end.isnull() | (subscriptions.end >= moment(when))
    return (subscriptions.start < moment(when)) & ends_later
