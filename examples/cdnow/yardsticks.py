"""What the textbook's models say of CDNOW's second 39 weeks after the first 39, which is all they see.

    python examples/cdnow/yardsticks.py .demo/cdnow

Prints their order and their level for the customers that the trained model is tested on, and for all.
"""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from cli.console import table
from features.project import load_project
from training.cltv.gamma_gamma import fit_spend
from training.cltv.mbg_nbd import Histories, fit_purchases
from training.cltv.pipeline import PIPELINE
from training.core.value_metrics import ValueBootstrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SNAPSHOT = dt.date(1997, 10, 1)
STAND = dt.date(1998, 7, 1)
HORIZON = (STAND - SNAPSHOT).days
MODELS = {"BG/NBD": 0, "MBG/NBD": 1}
"""By whether a customer may leave after the first order."""


@dataclass(frozen=True)
class Customers:
    """N customers: orders, money of all and of the first, times of the first and the last, and what followed."""

    ids: NDArray[np.object_]
    orders: NDArray[np.float64]
    spent: NDArray[np.float64]
    first_spent: NDArray[np.float64]
    histories: Histories
    followed: NDArray[np.float64]

    @classmethod
    def read(cls, file: Path) -> Customers:
        """A customer's day is one order; ages are in days before the snapshot."""
        lines = pq.read_table(file).group_by(["customer", "day"]).aggregate([("dollars", "sum")])
        lines = lines.sort_by([("customer", "ascending"), ("day", "ascending")])
        days = lines["day"].to_numpy().astype("datetime64[D]")
        ids, customer = np.unique(lines["customer"].to_numpy(), return_inverse=True)
        dollars: NDArray[np.float64] = lines["dollars_sum"].to_numpy()
        age: NDArray[np.float64] = (np.datetime64(SNAPSHOT) - days).astype(np.float64)
        past = age > 0
        firsts = np.unique(customer, return_index=True)[1]
        counts = np.bincount(customer[past])
        orders = counts.astype(np.float64)
        lasts = firsts + counts - 1
        return cls(
            ids=ids,
            orders=orders,
            spent=np.bincount(customer[past], dollars[past]).astype(np.float64),
            first_spent=dollars[firsts],
            histories=Histories(orders - 1.0, age[firsts] - age[lasts], age[firsts]),
            followed=np.bincount(customer[~past], dollars[~past], len(ids)).astype(np.float64),
        )


def forecasts(customers: Customers) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Money (N,) by model; the textbook leaves the first order out of the mean value of an order."""
    for name, may_leave in MODELS.items():
        orders = fit_purchases(customers.histories, first_may_leave=may_leave).expected_orders(
            customers.histories, HORIZON
        )
        yield (
            f"{name}, value of repeat orders",
            orders * values(customers.orders - 1, customers.spent - customers.first_spent),
        )
        yield f"{name}, value of all orders", orders * values(customers.orders, customers.spent)


def values(orders: NDArray[np.float64], spent: NDArray[np.float64]) -> NDArray[np.float64]:
    """What an order of each customer (N,) is expected to be worth."""
    mean = spent / np.maximum(orders, 1.0)
    paid = mean > 0
    return fit_spend(orders[paid], mean[paid]).expected_value(orders, mean)


def main() -> None:
    folder = Path(sys.argv[1])
    customers = Customers.read(folder / "orders.parquet")
    tested = PIPELINE.dataset(load_project(folder / "regulars.toml"), STAND).test.customer_ids
    parts = {"test customers": np.isin(customers.ids, tested), "all": np.ones(len(customers.ids), bool)}
    rows = []
    for name, money in forecasts(customers):
        for part, mask in parts.items():
            figures = ValueBootstrap(customers.followed[mask]).values(money[mask])
            shown = (str(figures[metric].interval()) for metric in ("gini", "aggregate_ratio", "rank_correlation"))
            rows.append([name, f"{part} ({mask.sum():,})", *shown])
    table("Spend of the second 39 weeks", ["model", "customers", "gini", "expected / actual", "rank correlation"], rows)


if __name__ == "__main__":
    main()
