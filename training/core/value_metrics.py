"""How good foreseen amounts are, on the resamples of `evaluate.Bootstrap`: their order, their level, their bounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from training.core.evaluate import RESAMPLES, Bootstrap, Ranking, captured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.core.amounts import Foreseen
    from training.core.evaluate import Sample

    Figures = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ValueBootstrap:
    """The customers of a test part with the amounts (N,) that followed: none is below zero, and one is above.

    What is judged by the same one is paired.
    """

    amounts: NDArray[np.float64]
    resamples: int = RESAMPLES

    def ranking(self, scores: NDArray[np.float64]) -> dict[str, Sample]:
        """The metrics of an order: `scores` (N,) need not be amounts."""
        ranking = Ranking(scores, self.amounts)
        return self._bootstrap.sample(lambda weights: self._order_metrics(ranking, weights))

    def values(self, expected: NDArray[np.float64]) -> dict[str, Sample]:
        """The metrics of an order and of a level: `expected` (N,) are amounts."""
        ranking = Ranking(expected, self.amounts)
        return self._bootstrap.sample(
            lambda weights: self._order_metrics(ranking, weights) | self._level_metrics(expected, weights)
        )

    def intervals(self, foreseen: Foreseen) -> dict[str, Sample]:
        """The metrics of amounts and of the bounds around them."""
        ranking = Ranking(foreseen.expected, self.amounts)
        return self._bootstrap.sample(
            lambda weights: (
                self._order_metrics(ranking, weights)
                | self._level_metrics(foreseen.expected, weights)
                | self._bound_metrics(foreseen, weights)
            )
        )

    def _order_metrics(self, ranking: Ranking, weights: NDArray[np.float64]) -> Figures:
        """The Gini coefficient over that of the perfect order, Spearman's correlation, and the share of the top tenth.

        Customers of one score earn what their mean order would, and share their mean rank.
        """
        money, customers = ranking.gains(weights)
        best_money, best_customers = self._perfect.gains(weights)
        ranks, best_ranks = _mean_ranks(ranking, customers), _mean_ranks(self._perfect, best_customers)
        return {
            "gini": _gini(money, customers) / _gini(best_money, best_customers),
            "rank_correlation": _correlation(ranks, best_ranks, weights),
            "top_decile_share": captured(money, customers),
        }

    def _level_metrics(self, expected: NDArray[np.float64], weights: NDArray[np.float64]) -> Figures:
        """All that was foreseen over all that came, and the mean absolute error in money."""
        return {
            "aggregate_ratio": (weights @ expected) / (weights @ self.amounts),
            "mae": weights @ np.abs(expected - self.amounts) / weights.sum(axis=1),
        }

    def _bound_metrics(self, foreseen: Foreseen, weights: NDArray[np.float64]) -> Figures:
        """The share of amounts within the bounds, and the bounds' mean width over the mean amount."""
        within = foreseen.covers(self.amounts).astype(np.float64)
        return {
            "coverage": weights @ within / weights.sum(axis=1),
            "interval_width": weights @ (foreseen.upper - foreseen.lower) / (weights @ self.amounts),
        }

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        return Bootstrap(self.amounts, self.resamples)

    @cached_property
    def _perfect(self) -> Ranking:
        return Ranking(self.amounts, self.amounts)


def _gini(money: NDArray[np.float64], customers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the area between the gains curve and the diagonal, by trapezoids (R,)."""
    twice = np.einsum("rs,rs->r", np.diff(customers, axis=1), money[:, 1:] + money[:, :-1])
    coefficient: NDArray[np.float64] = twice / (customers[:, -1] * money[:, -1]) - 1.0
    return coefficient


def _mean_ranks(ranking: Ranking, customers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each customer (R, N), counted from the middle."""
    middles = (customers[:, 1:] + customers[:, :-1] - customers[:, -1:]) / 2.0
    return middles[:, ranking.steps]


def _correlation(
    one: NDArray[np.float64], other: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pearson's correlation (R,) of rows (R, N) whose weighted mean is zero; with what is always the same, none."""
    weighted = weights * one
    together = np.einsum("rn,rn->r", weighted, other)
    spread = np.einsum("rn,rn->r", weighted, one) * np.einsum("rn,rn,rn->r", weights, other, other)
    correlation: NDArray[np.float64] = np.zeros(len(spread))
    np.divide(together, np.sqrt(spread), out=correlation, where=spread > 0)
    return correlation
