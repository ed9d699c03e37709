"""What a customer spends on an order: the gamma-gamma model.

The values of a customer's orders are gamma distributed around a mean of the customer's own, and so are, inverted, the
means. Fader and Hardie, "The Gamma-Gamma Model of Monetary Value" (2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

if TYPE_CHECKING:
    from numpy.typing import NDArray

START = np.log([2.0, 2.0, 2.0])
"""Logarithms of `p`, `q` - 1 and `gamma`, with money in units of the mean order."""

WIDEST = 8.0
"""Logarithms stay this close to zero: beyond, customers or orders do not differ, and nothing changes."""


@dataclass(frozen=True)
class SpendModel:
    """A population of customers: orders have the shape `p`, their means the shape `q` (above 1) and scale `gamma`."""

    p: float
    q: float
    gamma: float

    def log_likelihood(self, orders: NDArray[np.float64], mean_value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each customer's mean order value (N,), above zero."""
        shape = self.p * orders
        likelihood: NDArray[np.float64] = (
            gammaln(shape + self.q)
            - gammaln(shape)
            - gammaln(self.q)
            + self.q * np.log(self.gamma)
            + (shape - 1.0) * np.log(mean_value)
            + shape * np.log(orders)
            - (shape + self.q) * np.log(self.gamma + orders * mean_value)
        )
        return likelihood

    def expected_value(self, orders: NDArray[np.float64], mean_value: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean value (N,) of a customer's orders to come: between the population's mean and the customer's own."""
        expected: NDArray[np.float64] = self.p * (self.gamma + orders * mean_value) / (self.p * orders + self.q - 1.0)
        return expected


def fit_spend(orders: NDArray[np.float64], mean_value: NDArray[np.float64]) -> SpendModel:
    """The population of greatest likelihood, of customers (N,) with orders worth something."""
    unit = float(mean_value.mean())
    scaled = mean_value / unit

    def loss(logarithms: NDArray[np.float64]) -> float:
        p, above_one, gamma = np.exp(logarithms)
        return -float(SpendModel(p, 1.0 + above_one, gamma).log_likelihood(orders, scaled).mean())

    found = minimize(loss, START, method="L-BFGS-B", bounds=[(-WIDEST, WIDEST)] * len(START))
    p, above_one, gamma = np.exp(found.x).tolist()
    return SpendModel(p, 1.0 + above_one, gamma * unit)
