"""A generated shop as its owner would export it: customers with a rhythm of their own, some of whom leave for good."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST = dt.datetime.fromisoformat("2023-01-01")
DAYS = 540
CUSTOMERS = 900
DEPARTMENTS = ("bread", "fruit", "tea")

PROJECT = """
[project]
name = "Corner shop"
currency = "EUR"

[tables.transactions]
source = "orders.csv"
customer = "who"
time = "paid_at"
amount = "amount"
category = "department"
{mapped}

[churn]
horizon_days = 30

[training]
snapshots = {snapshots}
"""


def open_shop(
    folder: Path,
    *,
    customers: int = CUSTOMERS,
    departments: tuple[str, ...] = DEPARTMENTS,
    change: Callable[[pa.Table], pa.Table] = lambda orders: orders,
    snapshots: int = 8,
    mapped: str = "",
) -> Path:
    """Writes the shop's orders, as `change` leaves them, and its project file, and returns the latter.

    `mapped` are further keys of the transactions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pacsv.write_csv(change(orders(customers, departments)), folder / "orders.csv")
    project = folder / "regulars.toml"
    project.write_text(PROJECT.format(snapshots=snapshots, mapped=mapped))
    return project


@cache
def orders(customers: int = CUSTOMERS, departments: tuple[str, ...] = DEPARTMENTS) -> pa.Table:
    """One row an order: who, paid_at, amount, department.

    Orders come as a Poisson process with a customer's own rate; a customer who has left orders no more. So recency
    alone misleads: the same silence means nothing for the slow and everything for the quick.
    """
    random = np.random.default_rng(11)
    rows: dict[str, list[object]] = {"who": [], "paid_at": [], "amount": [], "department": []}
    for customer in range(customers):
        gap = random.choice([3.0, 8.0, 20.0])
        at = random.uniform(0, 300)
        leaves = at + random.exponential(400)
        while at < min(leaves, DAYS):
            rows["who"].append(f"customer {customer}")
            rows["paid_at"].append(FIRST + dt.timedelta(days=at))
            rows["amount"].append(round(float(random.lognormal(3, 0.5)), 2))
            rows["department"].append(str(random.choice(departments)))
            at += random.exponential(gap)
    return pa.table(rows)
