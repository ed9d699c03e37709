"""The space in which customers are alike: recency, frequency and monetary value, in logarithms, on one scale.

Three features, because a server refuses requests without them, because every order tells them at any pace of buying,
and because they are what marketers segment by. Logarithms, because the step from one order to two is as long as that
from ten to twenty. Days are counted in horizons, the silence that counts as leaving: within it, a day more or less is
chance, and in bare days the logarithm would part those who came yesterday from those who come tomorrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEATURES = ("recency_days", "frequency", "monetary")
"""In the order of a snapshot's columns. None is ever missing for a customer with an order."""

RECENCY, FREQUENCY, MONETARY = range(len(FEATURES))


@dataclass(frozen=True)
class Space:
    """Features to coordinates, each (F,): divided by `units`, logarithm, minus `means`, times `weights`.

    A feature without any spread has the weight zero: it tells nobody apart.
    """

    units: NDArray[np.float64]
    means: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, numeric: NDArray[np.float32], horizon_days: int) -> Space:
        """The space in which these customers (N, F) have the mean 0 and the standard deviation 1."""
        units = np.ones(len(FEATURES))
        units[RECENCY] = horizon_days
        logarithms = signed_logarithm(numeric / units)
        spreads = np.where(np.ptp(numeric, axis=0) > 0, logarithms.std(axis=0), np.inf)
        return cls(units, logarithms.mean(axis=0), 1.0 / spreads)

    def coordinates(self, numeric: NDArray[np.float32]) -> NDArray[np.float64]:
        """Where customers (N, F) stand: (N, F)."""
        return (signed_logarithm(numeric / self.units) - self.means) * self.weights

    def customers_at(self, coordinates: NDArray[np.float64]) -> NDArray[np.float32]:
        """The customers (N, F) who stand at coordinates (N, F); at its mean where a feature has no weight."""
        weighted = self.weights > 0
        steps = np.divide(coordinates, self.weights, out=np.zeros_like(coordinates), where=weighted)
        logarithms = steps + self.means
        return (np.sign(logarithms) * np.expm1(np.abs(logarithms)) * self.units).astype(np.float32)


def signed_logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 + |x|) with the sign of x: refunds may outweigh orders."""
    # As the graph computes it: it knows no log1p.
    return np.sign(values) * np.log(1.0 + np.abs(values))
