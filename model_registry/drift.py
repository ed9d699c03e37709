"""How far values have moved from those that training froze: one law for audits and for batch runs.

Shares of customers in the frozen bins are compared by the population stability index,

    PSI = sum over bins of (now - then) ln(now / then)

(Siddiqi, "Credit Risk Scorecards", 2006). For two samples of one world, n and m customers in B bins, it is
distributed about as chi-square with B - 1 degrees of freedom times 1/n + 1/m (Yurdakul, "Statistical Properties of
Population Stability Index", 2018): so much moves by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TOLERATED = 0.1
"""A PSI up to here is customarily no move, however sure it is that there is one."""

CONFIDENCE = 0.99
"""How seldom chance alone passes the limit: once in a hundred inputs of a small table."""

MINIMUM_EFFECTIVE = 300.0
"""Customers that both sides together must be worth, 1 / (1/n + 1/m), as 600 beside 600 are. There, chance moves ten
bins past `TOLERATED` eight times in ten thousand, so of a hundred audits of thirty inputs two are false alarms; with
300 beside 300 thirty are, with some thousands none. Measured on hundreds of audits of independent inputs."""


@dataclass(frozen=True)
class Shift:
    """A PSI, and what it must pass to be more than chance and enough to matter."""

    psi: float
    limit: float

    @property
    def drifted(self) -> bool:
        return self.psi > self.limit


def shift(then: Sequence[float], now: Sequence[float], customers_then: int, customers_now: int) -> Shift:
    """How far shares in the same bins lie apart, of so many customers each."""
    before, after = np.asarray(then), np.asarray(now)
    filled = int(((before > 0) | (after > 0)).sum())
    return Shift(psi(before, after, customers_then, customers_now), psi_limit(filled, customers_then, customers_now))


def is_sufficient(customers_then: int, customers_now: int) -> bool:
    """Whether there are enough customers to conclude anything."""
    return 1 / (1 / customers_then + 1 / customers_now) >= MINIMUM_EFFECTIVE


def psi(then: NDArray[np.float64], now: NDArray[np.float64], customers_then: int, customers_now: int) -> float:
    """The population stability index of shares (B,) of so many customers.

    A bin that nobody is in on one side counts as half a customer there, for the logarithm's sake.
    """
    filled = (then > 0) | (now > 0)
    before = np.maximum(then[filled], 0.5 / customers_then)
    after = np.maximum(now[filled], 0.5 / customers_now)
    return float(((after - before) * np.log(after / before)).sum())


def psi_limit(bins: int, customers_then: int, customers_now: int) -> float:
    """What a PSI over so many bins must pass to be more than chance, and enough to matter."""
    by_chance = _chi_square_quantile(max(bins - 1, 1)) * (1 / customers_then + 1 / customers_now)
    return max(TOLERATED, by_chance)


def _chi_square_quantile(degrees: int) -> float:
    """That of `CONFIDENCE`, within 0.8 %, and from two degrees of freedom on within 0.25 %.

    Wilson and Hilferty, "The Distribution of Chi-Square", 1931: its cube root is about normal.
    """
    spread = 2 / (9 * degrees)
    root = 1 - spread + NormalDist().inv_cdf(CONFIDENCE) * math.sqrt(spread)
    return degrees * root**3
