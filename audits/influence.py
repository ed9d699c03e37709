"""Two models on the same customers: how far apart a figure of theirs lies, and how sure that is.

Both are measured on the same people, so most of what is uncertain about each is uncertain about both, and drops out of
the difference. It is told by what every customer adds to a figure: the standard error is the root of the sum of the
squares (the infinitesimal jackknife; Efron, "Nonparametric standard errors and confidence intervals", 1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from audits.statistics import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Influenced:
    """A figure, and what each of N customers adds to it, (N,)."""

    value: float
    influence: NDArray[np.float64]

    @classmethod
    def quotient(cls, over: NDArray[np.float64], under: NDArray[np.float64]) -> Influenced:
        """A sum over another, both of N customers: a rate, a level, an error per unit of money. NaN over nothing."""
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = under.sum()
            value = float(over.sum() / whole)
            return cls(value, (over - value * under) / whole)

    @classmethod
    def auc(cls, scores: NDArray[np.float64], happened: NDArray[np.bool_]) -> Influenced:
        """The chance that who had the outcome has the higher score (N,) than who had not; a tie counts one half.

        DeLong et al., "Comparing the areas under two or more correlated receiver operating characteristic curves"
        (1988).
        """
        ranks, count = rankdata(scores), int(happened.sum())
        rest = len(scores) - count
        beaten = np.empty(len(scores))
        beaten[happened] = (ranks[happened] - rankdata(scores[happened])) / rest
        beaten[~happened] = 1.0 - (ranks[~happened] - rankdata(scores[~happened])) / count
        value = float(beaten[happened].mean())
        return cls(value, (beaten - value) / np.where(happened, count, rest))

    def less(self, other: Influenced) -> Influenced:
        return Influenced(self.value - other.value, self.influence - other.influence)

    def over(self, other: Influenced) -> Influenced:
        """NaN where the other is nothing."""
        if not other.value:
            return Influenced(np.nan, self.influence * np.nan)
        ratio = self.value / other.value
        return Influenced(ratio, (self.influence - ratio * other.influence) / other.value)

    @property
    def estimate(self) -> Measured:
        return Measured(self.value, float(np.sqrt((self.influence**2).sum())))
