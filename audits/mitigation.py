"""What could be done where a gate fails, and what it would do: measured where that is possible, named where not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audits.policy import (
    CLUSTER_RATIO,
    CRAMERS_V,
    ERROR_RATIO,
    EXPOSURE_RATIO,
    OBSERVED_EXPECTED,
    TOTAL_RATIO,
    TPR_GAP,
)
from audits.statistics import HALVINGS, SEED, Rate, interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from audits.population import Partition
    from model_registry.evidence import Interval

LINES_LIMIT = (
    "Lines by group belong to the campaign that picks names from a list. The served model is never told the attribute. "
    "Whether such lines may be drawn is a question of law in many places; ask before you do."
)
REFIT = "Train again under a constraint on this figure. Its effect is not measured here."
MORE = "Give the model what the group lacks: more history, or features that tell its customers apart."

NOT_MEASURED: Mapping[str, tuple[str, ...]] = {
    TPR_GAP: (MORE, REFIT),
    EXPOSURE_RATIO: ("Keep the list, and reach the group by another channel or offer besides.", REFIT),
    OBSERVED_EXPECTED: ("Train again on more recent snapshots: a level that has moved shows in every group.", MORE),
    TOTAL_RATIO: ("Train again on more recent snapshots: a level that has moved shows in every group.", MORE),
    ERROR_RATIO: (MORE, "Use the interval and not the figure alone where this group is concerned."),
    CLUSTER_RATIO: (
        "Look at what the segment stands for: behaviour may differ between groups and be what you want to see.",
        "Do not tie prices, limits or service to the segment while this stands.",
    ),
    CRAMERS_V: ("Drop or coarsen the features that go along with the attribute, and train again.",),
}
"""By metric: what a person may try whose effect this audit does not measure."""


OTHERS = "all others"
"""Customers of no group, or of one too small for a line of its own."""


@dataclass(frozen=True)
class Option:
    """A way to part reached from not reached, tried on customers that it was not made from.

    `effects` are by what they mean: with one line for everybody, and with `lines` by group. `cost` likewise.
    """

    metric: str
    attribute: str
    title: str
    lines: Mapping[str, float]
    effects: Mapping[str, tuple[Interval, Interval]]
    cost: Mapping[str, tuple[Interval, Interval]]


@dataclass(frozen=True)
class _Half:
    """Half of the customers; `codes` are places among the groups that get a line of their own, the last for others."""

    scores: NDArray[np.float64]
    happened: NDArray[np.bool_]
    codes: NDArray[np.intp]

    def at(self, rows: NDArray[np.intp]) -> _Half:
        return _Half(self.scores[rows], self.happened[rows], self.codes[rows])


def lines_by_group(
    partition: Partition,
    groups: tuple[str, ...],
    scores: NDArray[np.float64],
    happened: NDArray[np.bool_],
    share: float,
    metric: str,
) -> Option:
    """A line for each of `groups`, so that they are reached alike, and as many customers as before.

    Alike is the same share of each group for the exposure ratio, and the same share of those with the outcome
    otherwise. Customers of no group, or of one too small, share a line. One half of the customers draws the lines, the
    other half is measured.
    """
    everybody = _Half(scores, happened, _own_lines(partition, groups))
    drawing, measuring = _halves(everybody.codes)
    half, other = everybody.at(drawing), everybody.at(measuring)
    among = np.ones(len(half.scores), bool) if metric == EXPOSURE_RATIO else half.happened
    one_line = np.full(len(groups) + 1, np.quantile(half.scores, 1.0 - share))
    lines = _equal_lines(half, among, len(groups) + 1, share)
    before, after = (other.scores >= drawn[other.codes] for drawn in (one_line, lines))
    counted = np.ones(len(other.scores), bool) if metric == EXPOSURE_RATIO else other.happened
    what = "all" if metric == EXPOSURE_RATIO else "those with the outcome"
    return Option(
        metric=metric,
        attribute=partition.name,
        title=f"A line for each group, so that the same share of {what} is reached",
        lines={
            name: float(line)
            for code, (name, line) in enumerate(zip((*groups, OTHERS), lines, strict=True))
            if (everybody.codes == code).any()
        },
        effects={
            f"{group}: share of {what} who are reached": (
                _rate(before, counted & (other.codes == code)),
                _rate(after, counted & (other.codes == code)),
            )
            for code, group in enumerate(groups)
        },
        cost={
            "Share of all customers who are reached": (_rate(before), _rate(after)),
            "Share of those reached who have the outcome": (
                _rate(other.happened, before),
                _rate(other.happened, after),
            ),
            "Share of those with the outcome who are reached": (
                _rate(before, other.happened),
                _rate(after, other.happened),
            ),
        },
    )


def _own_lines(partition: Partition, groups: tuple[str, ...]) -> NDArray[np.intp]:
    places = {partition.groups.index(group): place for place, group in enumerate(groups)}
    return np.array([places.get(code, len(groups)) for code in partition.codes.tolist()], np.intp)


def _halves(codes: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every other customer of each group, in random order."""
    shuffled = np.random.default_rng(SEED).permutation(len(codes))
    by_group = shuffled[np.argsort(codes[shuffled], kind="stable")]
    return by_group[::2], by_group[1::2]


def _equal_lines(half: _Half, among: NDArray[np.bool_], lines: int, share: float) -> NDArray[np.float64]:
    """The lines that reach the same part of `among` in every group and `share` of everybody together."""
    pools = [half.scores[among & (half.codes == code)] for code in range(lines)]
    everywhere = float(np.quantile(half.scores, 1.0 - share))

    def drawn(part: float) -> NDArray[np.float64]:
        return np.array([np.quantile(pool, 1.0 - part) if len(pool) else everywhere for pool in pools])

    def reaches_too_many(part: float) -> bool:
        return bool((half.scores >= drawn(part)[half.codes]).mean() > share)

    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if reaches_too_many(middle) else (middle, high)
    return drawn(low)


def _rate(hits: NDArray[np.bool_], among: NDArray[np.bool_] | None = None) -> Interval:
    counted = hits if among is None else hits[among]
    return interval(Rate(int(counted.sum()), len(counted)))
