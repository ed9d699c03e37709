"""Fifths of the customers by recency, frequency and monetary value: the RFM scores that marketers know, 5 the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.clustering.space import FEATURES, FREQUENCY, MONETARY, RECENCY

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIFTHS = 5
SCORES = {"recency_score": RECENCY, "frequency_score": FREQUENCY, "monetary_score": MONETARY}
"""The column of each output. Recency counts downwards: the fewer days, the better."""


@dataclass(frozen=True)
class Fifths:
    """Where the fifths end, by column: float32 (F, 4), ascending. Who lies above a limit is in a later fifth.

    Equal limits leave a fifth empty: where most ordered once, nobody can be told apart from them.
    """

    limits: NDArray[np.float32]

    @classmethod
    def of(cls, numeric: NDArray[np.float32]) -> Fifths:
        """The fifths of customers (N, F), each there once."""
        return cls(np.stack([_limits(numeric[:, column]) for column in range(len(FEATURES))]))

    def scores(self, numeric: NDArray[np.float32]) -> NDArray[np.float64]:
        """From 1 to 5, in the order of `SCORES`: (N, 3)."""
        above = (numeric[:, :, None] > self.limits).sum(axis=2)
        scores: NDArray[np.float64] = above + 1.0
        scores[:, RECENCY] = FIFTHS - above[:, RECENCY]
        return scores


def _limits(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest value of each fifth but the last. Equal values go where the middle of their ranks lies."""
    distinct, counts = np.unique(values, return_counts=True)
    middles = (np.cumsum(counts) - counts / 2.0) / len(values)
    below = np.searchsorted(middles, np.arange(1, FIFTHS) / FIFTHS, side="right")
    # Where a fifth is empty from below, its limit lies below everybody.
    floor = np.nextafter(distinct[0], np.float32(-np.inf))
    return np.concatenate([[floor], distinct])[below].astype(np.float32)
