"""A foreseen amount with bounds: three boosters, each behind a line, in doubles what a graph says in floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.core.booster import margins, with_exact_sums

if TYPE_CHECKING:
    import lightgbm as lgb
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Line:
    """A booster and a line through its margins, all in numbers that a graph keeps exactly.

    Thresholds, `slope` and `intercept` are float32 numbers, and leaves lie on a grid.
    """

    booster: lgb.Booster
    slope: float
    intercept: float

    @classmethod
    def rounded(cls, booster: lgb.Booster, slope: float, intercept: float) -> Line:
        """The nearest such line; `booster` has float32 thresholds already."""
        return cls(with_exact_sums(booster), float(np.float32(slope)), float(np.float32(intercept)))

    def along(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """The line at these margins (N,)."""
        return self.slope * margins + self.intercept


@dataclass(frozen=True)
class Amounts:
    """The line of `expected` foresees the logarithm of the amount, those of the bounds that of one more than it.

    So an expected amount is above zero, and a bound may be zero.
    """

    expected: Line
    lower: Line
    upper: Line

    def foreseen(self, matrix: NDArray[np.float32]) -> Foreseen:
        """What is said of the customers of a design matrix (N, features)."""
        lines = (self.expected, self.lower, self.upper)
        return Foreseen.from_lines(*(line.along(margins(line.booster, matrix)) for line in lines))


@dataclass(frozen=True)
class Foreseen:
    """Amounts (N,) with 0 <= lower <= expected <= upper."""

    expected: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @classmethod
    def from_lines(
        cls, expected: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
    ) -> Foreseen:
        """Amounts from where the lines of `Amounts` lie (N,)."""
        amount = np.exp(expected)
        return cls(amount, np.minimum(np.maximum(np.expm1(lower), 0.0), amount), np.maximum(np.expm1(upper), amount))

    def covers(self, amounts: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the amounts (N,) lie within the bounds, ends included."""
        return (self.lower <= amounts) & (amounts <= self.upper)
