"""A generated shop as its owner would export it: customers with a rhythm of their own, some of whom leave for good."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

if TYPE_CHECKING:
    from pathlib import Path

FIRST = dt.datetime.fromisoformat("2023-01-01")
DAYS = 540
CUSTOMERS = 900

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

[churn]
horizon_days = 30

[training]
snapshots = 8
"""


def open_shop(folder: Path) -> Path:
    """Writes the shop's orders and its project file, and returns the latter.

    Orders come as a Poisson process with a customer's own rate; a customer who has left orders no more. So recency
    alone misleads: the same silence means nothing for the slow and everything for the quick.
    """
    random = np.random.default_rng(11)
    rows: dict[str, list[object]] = {"who": [], "paid_at": [], "amount": [], "department": []}
    for customer in range(CUSTOMERS):
        gap = random.choice([3.0, 8.0, 20.0])
        at = random.uniform(0, 300)
        leaves = at + random.exponential(400)
        while at < min(leaves, DAYS):
            rows["who"].append(f"customer {customer}")
            rows["paid_at"].append(FIRST + dt.timedelta(days=at))
            rows["amount"].append(round(float(random.lognormal(3, 0.5)), 2))
            rows["department"].append(str(random.choice(["bread", "fruit", "tea"])))
            at += random.exponential(gap)
    pacsv.write_csv(pa.table(rows), folder / "orders.csv")
    project = folder / "regulars.toml"
    project.write_text(PROJECT)
    return project
