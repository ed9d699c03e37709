"""How many orders a customer will place who may have left unseen: the MBG/NBD and the BG/NBD model.

While a customer is one, orders come as a Poisson process with a rate of the customer's own, and after an order the
customer leaves with a probability of the customer's own. Rates are gamma distributed (shape `r`, rate `alpha`), the
probabilities of leaving beta distributed (`a`, `b`).

The two models differ in one point. In the BG/NBD (Fader, Hardie and Lee, "'Counting your customers' the easy way",
2005) nobody leaves before a second order, so that whoever ordered once is a customer for ever; in the MBG/NBD
(Batislam, Denizel and Filiztekin, "Empirical validation and comparison of models for customer base analysis", 2007)
one may leave after the first. A customer with x repeat orders has thus passed x or x + 1 occasions to leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln, hyp2f1

if TYPE_CHECKING:
    from numpy.typing import NDArray

START = np.zeros(4)
"""Logarithms of the parameters, with time in units of the mean age of a customer."""

WIDEST = 12.0
"""Logarithms of the parameters stay this close to zero: beyond, customers do not differ, and nothing changes."""

POLE = 1e-6
"""How far parameters are kept from where the expectation is a limit of its formula."""


@dataclass(frozen=True)
class Histories:
    """Customers (N,) as the models see them.

    `repeats` are the orders after the first; `last` is the time from the first order to the last, `age` that from the
    first order to the present, in one unit.
    """

    repeats: NDArray[np.float64]
    last: NDArray[np.float64]
    age: NDArray[np.float64]


@dataclass(frozen=True)
class PurchaseModel:
    """A population of customers. `first_may_leave` tells the MBG/NBD, where it is 1, from the BG/NBD, where it is 0."""

    r: float
    alpha: float
    a: float
    b: float
    first_may_leave: int = 1

    def log_likelihood(self, histories: Histories) -> NDArray[np.float64]:
        """Of each customer's history (N,): silent by chance since the last order, or gone with it."""
        orders = self.r + histories.repeats
        occasions = self.b + histories.repeats + self.first_may_leave
        stayed = betaln(self.a, occasions) - betaln(self.a, self.b)
        ordered = gammaln(orders) - gammaln(self.r) + self.r * np.log(self.alpha)
        silent = -orders * np.log(self.alpha + histories.age)
        likelihood: NDArray[np.float64] = stayed + ordered + silent + np.logaddexp(0.0, self._log_odds_gone(histories))
        return likelihood

    def alive(self, histories: Histories) -> NDArray[np.float64]:
        """The probability (N,) that a customer has not left."""
        probability: NDArray[np.float64] = expit(-self._log_odds_gone(histories))
        return probability

    def expected_orders(self, histories: Histories, horizon: float) -> NDArray[np.float64]:
        """The orders (N,) that follow within `horizon`, on average.

        Equation 10 of Fader, Hardie and Lee after Euler's transformation of the hypergeometric function, which takes
        the orders of a busy customer out of its numerators, where they overflow.
        """
        a = _apart(self.a, 1.0)
        b = _apart(self.b, 1.0 - a)
        width = a + b + histories.repeats + self.first_may_leave - 1.0
        ahead = horizon / (self.alpha + histories.age + horizon)
        series = hyp2f1(a + b + self.first_may_leave - 1.0 - self.r, a - 1.0, width, ahead)
        if_alive = width / (a - 1.0) * (1.0 - (1.0 - ahead) ** (a - 1.0) * series)
        orders: NDArray[np.float64] = if_alive * self.alive(histories)
        return orders

    def _log_odds_gone(self, histories: Histories) -> NDArray[np.float64]:
        occasions = histories.repeats + self.first_may_leave
        with np.errstate(divide="ignore"):
            # Without an occasion to leave nobody has: the logarithm of nothing.
            leaves = np.log(np.where(occasions > 0, self.a / (self.b + np.maximum(occasions, 1.0) - 1.0), 0.0))
        silence = np.log(self.alpha + histories.age) - np.log(self.alpha + histories.last)
        odds: NDArray[np.float64] = leaves + (self.r + histories.repeats) * silence
        return odds


def _apart(parameter: float, pole: float) -> float:
    return parameter if abs(parameter - pole) > POLE else pole + POLE


def fit_purchases(histories: Histories, *, first_may_leave: int = 1) -> PurchaseModel:
    """The population of greatest likelihood, in the unit of time of the histories."""
    # Counted in mean ages, all four parameters are of one size, which the search needs.
    unit = float(histories.age.mean())
    scaled = Histories(histories.repeats, histories.last / unit, histories.age / unit)

    def loss(logarithms: NDArray[np.float64]) -> float:
        r, alpha, a, b = np.exp(logarithms)
        return -float(PurchaseModel(r, alpha, a, b, first_may_leave).log_likelihood(scaled).mean())

    found = minimize(loss, START, method="L-BFGS-B", bounds=[(-WIDEST, WIDEST)] * len(START))
    r, alpha, a, b = np.exp(found.x).tolist()
    return PurchaseModel(r, alpha * unit, a, b, first_may_leave)
