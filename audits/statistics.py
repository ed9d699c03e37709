"""How sure a figure is, and what may be concluded from it.

Every figure is an `Estimate`: it gives its interval at any width z, in standard normal deviates. So one rule serves
all: a test against a limit asks how wide the interval may grow until it touches the limit.

| figure | interval |
|---|---|
| a rate | Wilson, "Probable inference, the law of succession, and statistical inference" (1927) |
| a difference of rates | Newcombe, "Interval estimation for the difference between independent proportions" (1998) |
| a ratio of rates | Donner and Zou, "Closed-form confidence intervals for functions of parameters" (2012) |
| Cramér's V | Smithson, "Confidence intervals" (2003): the noncentral chi-squares that the table may come from |
| all others | a stratified bootstrap's standard error, on the scale of logarithms for ratios |

Rates close to 0 or 1 and groups of a few dozen are the rule here. A bootstrap of a rate that was never missed has no
width at all, so rates have closed forms, and the bootstrap serves where there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.special import chndtr, ndtr
from scipy.stats import random_table

from model_registry.evidence import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

Z95 = 1.959963984540054
ALPHA = 0.05
WIDEST = 12.0
"""Deviates beyond which nothing is doubted: one in 10^33."""

NO_RATIO = 1e-6
"""A ratio below this is nothing over something."""

HALVINGS = 50
RESAMPLES = 500
"""A standard error of so many resamples is itself uncertain by 3 %."""

SHUFFLES = 1000
SEED = 20_170_101
CELLS = 4_000_000
"""Weights held at once (R x N): 32 MB of doubles."""


class Verdict(StrEnum):
    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Estimate(Protocol):
    """A figure of a population, estimated from its customers."""

    @property
    def value(self) -> float:
        """The estimate; NaN where there is none."""

    def at(self, z: float) -> tuple[float, float]:
        """The interval of `z` standard deviates either side; it grows with `z`."""


@dataclass(frozen=True)
class Rate:
    """How many of `trials` customers."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        return self.hits / self.trials if self.trials else math.nan

    def at(self, z: float) -> tuple[float, float]:
        if not self.trials:
            return 0.0, 1.0
        rate, spread = self.hits / self.trials, z * z / self.trials
        centre = (rate + spread / 2.0) / (1.0 + spread)
        half = z / (1.0 + spread) * math.sqrt(rate * (1.0 - rate) / self.trials + spread / (4.0 * self.trials))
        # A rate of 0 or 1 is an end of its interval, but for the last bit.
        return min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half))


@dataclass(frozen=True)
class Difference:
    """`one` less `other`, of different customers."""

    one: Rate
    other: Rate

    @property
    def value(self) -> float:
        return self.one.value - self.other.value

    def at(self, z: float) -> tuple[float, float]:
        (low, high), (other_low, other_high) = self.one.at(z), self.other.at(z)
        one, other = self.one.value, self.other.value
        return (
            self.value - math.hypot(one - low, other_high - other),
            self.value + math.hypot(high - one, other - other_low),
        )


@dataclass(frozen=True)
class Ratio:
    """`one` over `other`, of different customers; infinite where `other` is nothing."""

    one: Rate
    other: Rate

    @property
    def value(self) -> float:
        if self.other.hits:
            return self.one.value / self.other.value
        return math.inf if self.one.hits else math.nan

    def at(self, z: float) -> tuple[float, float]:
        """The method of variance estimates recovery, with its roots in the form that no denominator can upset."""
        (low, high), (other_low, other_high) = self.one.at(z), self.other.at(z)
        one, other = self.one.value, self.other.value
        product = one * other
        below, under = low * (2.0 * one - low), other_high * (2.0 * other - other_high)
        above, over = high * (2.0 * one - high), other_low * (2.0 * other - other_low)
        root = product + math.sqrt(max(0.0, product**2 - below * under))
        least = below / root if root else math.inf if below else 0.0
        most = (product + math.sqrt(max(0.0, product**2 - above * over))) / over if over else math.inf
        return least, most


@dataclass(frozen=True)
class PartOfWhole:
    """A part's rate over that of the whole which it belongs to: a group's share of a segment over everybody's.

    It grows with the ratio of part and rest, whose customers are different, so its interval is that ratio's.
    """

    part: Rate
    rest: Rate

    @property
    def value(self) -> float:
        everybody = Rate(self.part.hits + self.rest.hits, self.part.trials + self.rest.trials)
        return self.part.value / everybody.value if everybody.hits else math.nan

    def at(self, z: float) -> tuple[float, float]:
        low, high = Ratio(self.part, self.rest).at(z)
        return self._of_whole(low), self._of_whole(high)

    def _of_whole(self, ratio: float) -> float:
        weight = self.part.trials / (self.part.trials + self.rest.trials)
        return 1.0 / weight if math.isinf(ratio) else ratio / (weight * ratio + 1.0 - weight)


@dataclass(frozen=True)
class Measured:
    """An estimate with a standard error, which is that of its logarithm where it is a `ratio`."""

    value: float
    error: float
    ratio: bool = False

    def at(self, z: float) -> tuple[float, float]:
        if self.ratio:
            return self.value * math.exp(-z * self.error), self.value * math.exp(z * self.error)
        return self.value - z * self.error, self.value + z * self.error

    def over(self, other: Measured) -> Measured:
        """The ratio to another ratio, of different customers."""
        return Measured(self.value / other.value, math.hypot(self.error, other.error), ratio=True)


@dataclass(frozen=True)
class Association:
    """Cramér's V of a contingency table (R, C): 0 where rows and columns are independent, 1 where one tells the other.

    The plain figure is never 0 and the larger the smaller the table. The estimate here is the V that would give a
    larger chi-square as often as a smaller one, so chance alone adds nothing to it.
    """

    table: NDArray[np.int64]

    @property
    def value(self) -> float:
        return self.at(0.0)[0]

    def at(self, z: float) -> tuple[float, float]:
        if not self._freedom:
            return 0.0, 0.0
        tail = float(ndtr(-z))
        return self._strength(self._noncentrality(1.0 - tail)), self._strength(self._noncentrality(tail))

    def _noncentrality(self, probability: float) -> float:
        """Of the chi-square that stays below the observed one with this probability; it falls as that grows."""
        observed = chi_square(self._counted)

        def below(noncentrality: float) -> bool:
            return bool(chndtr(observed, self._freedom, noncentrality) < probability)

        if below(0.0):
            return 0.0
        most = observed + 1.0
        while not below(most):
            most *= 2.0
        return _edge(lambda noncentrality: not below(noncentrality), most)

    def _strength(self, noncentrality: float) -> float:
        counted = self._counted
        return min(1.0, math.sqrt(noncentrality / (counted.sum() * (min(counted.shape) - 1))))

    @property
    def _counted(self) -> NDArray[np.int64]:
        """Without the rows and the columns that hold nobody."""
        return self.table[self.table.any(axis=1)][:, self.table.any(axis=0)]

    @property
    def _freedom(self) -> int:
        """None where all are of one row, or of one column: then neither tells the other."""
        rows, columns = self._counted.shape
        return int((rows - 1) * (columns - 1))


@dataclass(frozen=True)
class Tolerance:
    """The figures that are tolerated, and the ideal one among them. A `ratio` is as far from 1 at 0.8 as at 1.25."""

    low: float
    ideal: float
    high: float
    ratio: bool = False

    def holds(self, low: float, high: float) -> bool:
        """Whether all of an interval is tolerated."""
        return self.low <= low and high <= self.high

    def excludes(self, low: float, high: float) -> bool:
        """Whether none of it is."""
        return high < self.low or self.high < low

    def shifted(self, figure: float, end: float) -> float:
        """Where an end of the interval of `figure` would lie if the figure were ideal."""
        return self.ideal * end / figure if self.ratio else self.ideal + end - figure

    def away(self, figure: float) -> float:
        """How far a figure lies from the ideal, in logarithms for a ratio."""
        if self.ratio:
            return math.log(max(figure, NO_RATIO)) - math.log(self.ideal)
        return figure - self.ideal

    def excess(self, figure: float) -> float:
        """The same in units of what is tolerated on that side, so beyond -1 and 1 it is not."""
        away = self.away(figure)
        return away / abs(self.away(self.high if away > 0.0 else self.low))


def interval(estimate: Estimate) -> Interval:
    """The estimate with its 95 % interval."""
    return Interval(estimate.value, *estimate.at(Z95))


def p_value(estimate: Estimate, tolerance: Tolerance) -> float:
    """Of the claim that the truth is tolerated: small where the figure lies outside beyond doubt, 1 where inside.

    Two-sided, so that .05 is the level at which the 95 % interval just touches the tolerance.
    """
    if math.isnan(estimate.value) or not tolerance.excludes(*estimate.at(0.0)):
        return 1.0
    return float(2.0 * ndtr(-_edge(lambda z: tolerance.excludes(*estimate.at(z)), WIDEST)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that, of all the claims together, one is wrongly rejected at `ALPHA` with at most that probability.

    Holm, "A simple sequentially rejective multiple test procedure" (1979); the claims may depend on each other.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    raised = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values, float)[order]))
    adjusted = np.empty(len(order))
    adjusted[order] = raised
    return [float(one) for one in adjusted]


def decide(estimate: Estimate, tolerance: Tolerance, adjusted: float) -> Verdict:
    """FAIL where the adjusted test says so, PASS where the whole 95 % interval is tolerated.

    Only FAIL is adjusted for the number of tests. An audit passes where all of them pass, so no wrong PASS of one can
    hide behind the others.
    """
    if adjusted <= ALPHA:
        return Verdict.FAIL
    return Verdict.PASS if tolerance.holds(*estimate.at(Z95)) else Verdict.INCONCLUSIVE


def growth(estimate: Estimate, tolerance: Tolerance) -> float:
    """How many times as many customers it takes to pass if the figure were ideal; at most 1 where these are enough.

    An interval is half as wide with four times the customers. Infinity where nothing bounds a ratio yet.
    """
    ends = estimate.at(Z95)
    if tolerance.ratio and not (ends[0] > 0.0 and math.isfinite(ends[1])):
        return math.inf
    low, high = (tolerance.shifted(estimate.value, end) for end in ends)
    scale = math.log if tolerance.ratio else float
    room = [
        (scale(end) - scale(tolerance.ideal)) / (scale(limit) - scale(tolerance.ideal))
        for end, limit in ((low, tolerance.low), (high, tolerance.high))
        if limit not in {-math.inf, 0.0, math.inf}
    ]
    return max(room) ** 2


def halves(strata: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every other customer of each stratum (N,), in random order."""
    shuffled = np.random.default_rng(SEED).permutation(len(strata))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    return by_stratum[::2], by_stratum[1::2]


def bootstrap_errors(
    statistics: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]], rows: int
) -> dict[str, float]:
    """The standard errors of statistics of one stratum's customers, by name.

    Args:
        statistics: takes weightings of the customers (R, rows), each of which says how often a customer was drawn,
            and gives one figure a weighting (R,).
        rows: the customers of the stratum. Strata are drawn one by one, each as large as it is.
    """
    random = np.random.default_rng(SEED)
    at_once = max(1, min(RESAMPLES, CELLS // rows))
    parts = []
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        drawn = random.integers(0, rows, (count, rows), dtype=np.int32) + rows * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows)
        parts.append(statistics(weights.astype(np.float64)))
    return {name: float(np.std(np.concatenate([part[name] for part in parts]), ddof=1)) for name in parts[0]}


def chance(table: NDArray[np.int64]) -> float:
    """How often groups (R) that were shuffled would differ in their outcomes (C) as much as those of this table.

    A permutation test by chi-square: tables with the same margins are drawn at random.
    """
    counted = table[table.any(axis=1)][:, table.any(axis=0)]
    if min(counted.shape) < 2:  # noqa: PLR2004 - nothing to tell apart
        return 1.0
    drawn = random_table(counted.sum(axis=1), counted.sum(axis=0), seed=SEED).rvs(SHUFFLES)
    expected = _expected(counted)
    shuffled = ((drawn - expected) ** 2 / expected).sum(axis=(1, 2))
    # The observed table is one of those that chance could give; equal ones may differ in the last bit.
    as_large = int(np.count_nonzero(shuffled >= chi_square(counted) * (1.0 - 1e-9)))
    return (1.0 + as_large) / (1.0 + SHUFFLES)


def chi_square(table: NDArray[np.int64]) -> float:
    """Pearson's, of a table without empty rows and columns."""
    expected = _expected(table)
    return float(((table - expected) ** 2 / expected).sum())


def _expected(table: NDArray[np.int64]) -> NDArray[np.float64]:
    expected: NDArray[np.float64] = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return expected


def _edge(holds: Callable[[float], bool], most: float) -> float:
    """The largest number up to `most` that `holds`, where all below it do, from 0 on."""
    if holds(most):
        return most
    low, high = 0.0, most
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
