"""A generated market whose truth is known: everybody orders at a pace of their own, and has tastes of their own.

Orders come as a Poisson process of a constant rate. Whoever likes a category takes something of it with most orders,
and campaigns are answered at constant rates too, so the probability of each within a horizon is known exactly.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FIRST = dt.datetime.fromisoformat("2023-01-01")
DAYS = 160
CUSTOMERS = 700
HORIZON = 7
AS_OF = FIRST.date() + dt.timedelta(days=DAYS)

PROJECT = """
[project]
name = "Market"
currency = "EUR"

[tables.transactions]
source = "orders.csv"
customer = "who"
time = "paid_at"
amount = "amount"
order = "order"
category = "department"

[tables.responses]
source = "responses.csv"
customer = "who"
time = "at"

[churn]
active_days = 60

[propensity]
horizon_days = 7
categories = ["bread", "cheese", "wine", "caviar"]

[training]
snapshots = 4
spacing_days = 21
"""

TASTES = {"bread": (1.0, 0.9), "cheese": (0.5, 0.8), "wine": (0.5, 0.8), "caviar": (0.02, 0.5)}
"""By category: which share of the customers likes it, and in which share of their orders it is. Cheese and wine have
different friends."""

PACES = (0.02, 0.06, 0.15, 0.4)
"""Orders a day, of a quarter of the customers each."""

ANSWERS = (0.0, 0.0, 0.02, 0.15)
"""Answers to campaigns a day, likewise."""


@dataclass(frozen=True)
class Market:
    """`rates` (N,) are events a day of each customer, by label."""

    project: Path
    rates: dict[str, NDArray[np.float64]]

    def truth(self, label: str, customer_ids: NDArray[np.object_]) -> NDArray[np.float64]:
        """The probability of the label within the horizon (N,), of these customers."""
        numbers = np.array([int(identity.removeprefix("customer ")) for identity in customer_ids])
        probabilities: NDArray[np.float64] = 1.0 - np.exp(-HORIZON * self.rates[label][numbers])
        return probabilities


def open_market(folder: Path) -> Market:
    """Writes the market's tables and its project file."""
    random = np.random.default_rng(17)
    pace = random.choice(PACES, CUSTOMERS)
    orders = _events(random, pace)
    number = np.arange(len(orders.who))
    lines = []
    rates = {"purchased": pace}
    taste = random.random(CUSTOMERS)
    for category, (share, habit) in TASTES.items():
        likes = (taste > 1 - share) if category == "wine" else (taste < share)
        taken = likes[orders.who] & (random.random(len(orders.who)) < habit)
        lines.append(_lines(random, orders.at(taken), number[taken], category))
        rates[f"purchased[{category}]"] = pace * likes * habit
    rates["responded"] = random.choice(ANSWERS, CUSTOMERS)
    answers = _events(random, rates["responded"])
    pacsv.write_csv(pa.concat_tables(lines), folder / "orders.csv")
    pacsv.write_csv(pa.table({"who": answers.names, "at": answers.times}), folder / "responses.csv")
    project = folder / "regulars.toml"
    project.write_text(PROJECT)
    return Market(project, rates)


@dataclass(frozen=True)
class _Events:
    """Who (N,), by number, and when (N,), in days after the first."""

    who: NDArray[np.intp]
    days: NDArray[np.float64]

    def at(self, mask: NDArray[np.bool_]) -> _Events:
        return _Events(self.who[mask], self.days[mask])

    @property
    def names(self) -> list[str]:
        return [f"customer {number}" for number in self.who]

    @property
    def times(self) -> NDArray[np.datetime64]:
        return np.datetime64(FIRST, "s") + (self.days * 86_400).astype("timedelta64[s]")


def _events(random: np.random.Generator, rates: NDArray[np.float64]) -> _Events:
    who = np.repeat(np.arange(len(rates)), random.poisson(rates * DAYS))
    return _Events(who, random.uniform(0.0, DAYS, len(who)))


def _lines(random: np.random.Generator, orders: _Events, number: NDArray[np.intp], category: str) -> pa.Table:
    return pa.table(
        {
            "who": orders.names,
            "paid_at": orders.times,
            "amount": np.round(random.lognormal(2.0, 0.5, len(number)), 2),
            "order": number,
            "department": [category] * len(number),
        }
    )
