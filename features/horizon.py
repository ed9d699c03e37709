"""How far each model looks ahead, read from the gaps between orders or from how long the history is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibis import _

from features.engine import run
from features.errors import TooLittleError
from features.history import ledger, tomorrow

if TYPE_CHECKING:
    import datetime as dt

    from features.sections import Churn, Cltv, Propensity
    from features.tables import CustomerTables

# Horizons that people plan by.
CANDIDATES = (7, 14, 30, 60, 90, 180, 365)
LONG_CANDIDATES = (30, 60, 90, 180, 365)

# A silence that outlasts 19 of 20 gaps is unusual enough to act on. At 9 of 10, one false alarm follows every
# tenth order; at 99 of 100, the few longest gaps decide and the alarm comes when the customer has long left.
CHURN_COVERED = 0.95

# Where half of the gaps have closed, who orders is most open, so a forecast tells most.
PROPENSITY_COVERED = 0.5

# History that a horizon needs: one to look back on, one to learn from, one to test on.
HISTORY_HORIZONS = 3


def churn_horizon(churn: Churn, tables: CustomerTables, as_of: dt.date | None = None) -> int:
    """The project's horizon, or else the shortest candidate that covers 95 % of the gaps between orders.

    Gaps are counted, not customers, so that frequent customers, who bring most orders, weigh most. Only gaps that
    closed before `as_of` count; None counts all.

    Raises:
        TooLittleError: nobody ordered twice, so that no gap is known.
        TableError: the table cannot be read.
    """
    return churn.horizon_days or _from_gaps(tables, as_of or tomorrow(), CHURN_COVERED, "churn.horizon_days")


def propensity_horizon(propensity: Propensity, tables: CustomerTables, as_of: dt.date | None = None) -> int:
    """Like `churn_horizon`, for half of the gaps."""
    days = propensity.horizon_days
    return days or _from_gaps(tables, as_of or tomorrow(), PROPENSITY_COVERED, "propensity.horizon_days")


def cltv_horizon(cltv: Cltv, history_days: int) -> int:
    """The project's horizon, or else the longest candidate of which the history holds three; the shortest at least."""
    allowed = [days for days in LONG_CANDIDATES if HISTORY_HORIZONS * days <= history_days]
    return cltv.horizon_days or max(allowed, default=LONG_CANDIDATES[0])


def _from_gaps(tables: CustomerTables, as_of: dt.date, covered: float, key: str) -> int:
    if tables.transactions is None:
        raise TooLittleError("tables.transactions", "is not mapped, so gaps are unknown", f"Set {key}")
    gaps = ledger(tables.transactions, as_of).filter(_.gap.notnull())
    shares = gaps.aggregate(**{str(days): (_.gap <= days).mean() for days in CANDIDATES})
    reached = run(shares).to_pylist()[0]
    if reached[str(CANDIDATES[0])] is None:
        raise TooLittleError("tables.transactions", "has no customer with two orders", f"Set {key}")
    return next((days for days in CANDIDATES if reached[str(days)] >= covered), CANDIDATES[-1])
