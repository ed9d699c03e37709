"""How long a silence counts as leaving, read from the gaps between orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibis import _

from features.engine import run
from features.errors import TableError
from features.history import ledger, tomorrow

if TYPE_CHECKING:
    import datetime as dt

    from features.sections import Churn
    from features.tables import CustomerTables

# Horizons that people plan by.
CANDIDATES = (7, 14, 30, 60, 90, 180, 365)
# A silence that outlasts 19 of 20 gaps is unusual enough to act on. At 9 of 10, one false alarm follows every
# tenth order; at 99 of 100, the few longest gaps decide and the alarm comes when the customer has long left.
COVERED = 0.95


def horizon_days(churn: Churn, tables: CustomerTables, as_of: dt.date | None = None) -> int:
    """The project's horizon, or else the shortest candidate that covers 95 % of the gaps between orders.

    Gaps are counted, not customers, so that frequent customers, who bring most orders, weigh most. Only gaps that
    closed before `as_of` count; None counts all.

    Raises:
        TableError: nobody ordered twice, so that no gap is known, or the table cannot be read.
    """
    return churn.horizon_days or _from_gaps(tables, as_of or tomorrow())


def _from_gaps(tables: CustomerTables, as_of: dt.date) -> int:
    if tables.transactions is None:
        raise TableError("tables.transactions", "is not mapped, so gaps are unknown", "Set churn.horizon_days")
    gaps = ledger(tables.transactions, as_of).filter(_.gap.notnull())
    shares = gaps.aggregate(**{str(days): (_.gap <= days).mean() for days in CANDIDATES})
    covered = run(shares).to_pylist()[0]
    if covered[str(CANDIDATES[0])] is None:
        raise TableError("tables.transactions", "has no customer with two orders", "Set churn.horizon_days")
    return next((days for days in CANDIDATES if covered[str(days)] >= COVERED), CANDIDATES[-1])
