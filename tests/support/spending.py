"""A world of spenders whose truth is the MBG/NBD model with gamma-gamma values: rates, leaving and values are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from features.specs import FeatureSpec
from model_registry.bundle import TrainingWindow
from training.cltv.regressor import GRID, tune
from training.core.dataset import Dataset, Rows, make_dataset, rows_from_arrow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.cltv.regressor import Tuned

SPECS = (
    FeatureSpec("recency_days", "numeric", "days", "Since the last order", nullable=False),
    FeatureSpec("tenure_days", "numeric", "days", "Since the first order", nullable=False, ages=True),
    FeatureSpec("frequency", "numeric", "orders", "So far", nullable=False),
    FeatureSpec("spend_90d", "numeric", "money", "In the last 90 days", nullable=False),
    FeatureSpec("order_value_mean", "numeric", "money", "Mean value of an order", nullable=False),
    FeatureSpec("gap_days_mean", "numeric", "days", "Mean time between orders"),
    FeatureSpec("main_channel", "categorical", "", "The channel of most orders"),
)
LABEL = "revenue"
HORIZON = 90
FIRST_DAY = np.datetime64("2017-01-01")
DATES = ("2017-06-30", "2017-09-28", "2017-12-27")
"""The first two train, the last tests; each label closes when the next snapshot opens."""

R, ALPHA, A, B = 1.5, 25.0, 0.5, 15.0
P, Q, GAMMA = 6.0, 4.0, 15.0
ARRIVALS = 150.0
END = 460.0


@dataclass(frozen=True)
class Orders:
    """Orders of customers: whose, on which day, worth what; (M,) each, by customer and day."""

    customer: NDArray[np.intp]
    day: NDArray[np.float64]
    value: NDArray[np.float64]


def simulate(customers: int, seed: int) -> Orders:
    """Orders until `END`, of customers who come within the first `ARRIVALS` days."""
    random = np.random.default_rng(seed)
    rate = random.gamma(R, 1.0 / ALPHA, customers)
    leaves = random.beta(A, B, customers)
    mean_value = P * GAMMA / random.gamma(Q, 1.0, customers)
    rows: list[tuple[int, float]] = []
    for one in range(customers):
        at = random.uniform(0.0, ARRIVALS)
        while at < END:
            rows.append((one, at))
            if random.random() < leaves[one]:
                break
            at += random.exponential(1.0 / rate[one])
    customer = np.array([one for one, _ in rows], np.intp)
    value = random.gamma(P, mean_value[customer] / P)
    return Orders(customer, np.array([day for _, day in rows]), value)


def snapshot(orders: Orders, date: str, scale: float = 1.0) -> pa.Table:
    """Features of everybody with an order before the date, and the revenue of the horizon after it."""
    day = float((np.datetime64(date) - FIRST_DAY).astype(int))
    past = orders.day < day
    later = ~past & (orders.day < day + HORIZON)
    recent = past & (orders.day >= day - HORIZON)
    count = int(orders.customer.max()) + 1
    frequency, spent, lately, revenue = (
        np.bincount(orders.customer[mask], weights, count)
        for mask, weights in (
            (past, None),
            (past, orders.value[past]),
            (recent, orders.value[recent]),
            (later, orders.value[later]),
        )
    )
    first, last = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(first, orders.customer[past], orders.day[past])
    np.maximum.at(last, orders.customer[past], orders.day[past])
    known = frequency > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(frequency > 1, (last - first) / (frequency - 1), np.nan)
        value = spent / frequency
    channel = np.array(["web", "shop", "mail"])[np.arange(count) % 3]
    columns = (day - last, day - first, frequency, scale * lately, scale * value, gap)
    return pa.table(
        {
            "customer_id": [f"c{one:05}" for one in np.flatnonzero(known)],
            **{spec.name: values[known].astype(np.float32) for spec, values in zip(SPECS[:-1], columns, strict=True)},
            "main_channel": channel[known],
            LABEL: scale * revenue[known],
        }
    )


@cache
def dataset(customers: int = 1200, scale: float = 1.0) -> Dataset:
    """Two training snapshots and a test snapshot of one customer base; `scale` counts money in a smaller unit."""
    orders = simulate(customers, seed=5)
    tables = [snapshot(orders, date, scale) for date in DATES]
    parts = [
        rows_from_arrow(table, SPECS, [LABEL], np.datetime64(date)) for table, date in zip(tables, DATES, strict=True)
    ]
    window = TrainingWindow(DATES[0], DATES[1], DATES[2])
    return make_dataset(SPECS, Rows.concatenate(parts[:2]), parts[2], tables[2], HORIZON, window)


@cache
def tuned(scale: float = 1.0) -> Tuned:
    """The model of the dataset, by a shorter search."""
    data = dataset(scale=scale)
    return tune(data.train, data.features, LABEL, lambda _: None, GRID[:2])
