"""The simple rules that the booster must beat: spend goes on as it did, and orders come as customers have a rhythm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.cltv.gamma_gamma import fit_spend
from training.cltv.mbg_nbd import Histories, fit_purchases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model_registry.columns import Columns
    from model_registry.schema import Feature

SPEND_RATE = "spend rate"
MBG_NBD = "MBG/NBD"
WINDOWS = {30: "spend_30d", 90: "spend_90d", 180: "spend_180d"}
HISTORY = ("frequency", "recency_days", "tenure_days", "order_value_mean")
FITTED = 20_000
"""Customers that the four and the three parameters are fitted to; more would not move them by what matters."""


def spend_rate(columns: Columns, features: Sequence[Feature], horizon_days: int) -> NDArray[np.float64] | None:
    """The money (N,) of the window nearest in length to the horizon, stretched to it; None where no window is left."""
    known = {days: name for days, name in WINDOWS.items() if name in _names(features)}
    if not known:
        return None
    days = min(known, key=lambda days: abs(np.log(days / horizon_days)))
    # Refunds may outweigh what was bought; nobody is expected to bring less than nothing.
    return np.maximum(_column(columns, features, known[days]), 0.0) * (horizon_days / days)


def rhythm(columns: Columns, features: Sequence[Feature], horizon_days: int) -> NDArray[np.float64] | None:
    """The money (N,) by MBG/NBD and gamma-gamma, fitted to these customers' past; None where that is no feature.

    The mean value of an order is that of all orders, the first included: it is one of them.
    """
    if not set(HISTORY) <= set(_names(features)):
        return None
    orders, recency, age, value = (_column(columns, features, name) for name in HISTORY)
    histories = Histories(orders - 1.0, np.maximum(age - recency, 0.0), age)
    fitted = slice(None, None, -(-len(orders) // FITTED))
    paid = value[fitted] > 0
    population = fit_purchases(Histories(histories.repeats[fitted], histories.last[fitted], age[fitted]))
    spend = fit_spend(orders[fitted][paid], value[fitted][paid])
    money: NDArray[np.float64] = population.expected_orders(histories, horizon_days) * spend.expected_value(
        orders, value
    )
    return money


def _names(features: Sequence[Feature]) -> list[str]:
    """The numeric features, in the order of their columns."""
    return [feature.name for feature in features if feature.kind == "numeric"]


def _column(columns: Columns, features: Sequence[Feature], name: str) -> NDArray[np.float64]:
    return columns.numeric[:, _names(features).index(name)].astype(np.float64)
