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
from audits.statistics import HALVINGS, Rate, halves, interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from audits.population import Partition
    from model_registry.evidence import Interval

LINES_LIMIT = (
    "Lines by group belong to the campaign that picks names from a list. The served model is never told the attribute. "
    "Whether such lines may be drawn is a question of law in many places; ask before you do."
)
REFIT_LIMIT = (
    "What another training could do is estimated by a small learner on the inputs that the model was given. One half "
    "of the customers is fitted to and the other half measured, both ways round. Compare the learner's columns with "
    "each other: the change is the effect of what was tried. The served model is larger and would change by as much "
    "only roughly; where inputs are dropped it is likely to change less, as it finds in others what they told. The "
    "attribute is never an input. Under a constraint it decides how far what came in a group is lifted or lowered "
    "while the learner is fitted, and nothing of it is left in what would be served."
)
REFIT_ACT = (
    "To act on it: name inputs in training.drop_features, or map coarser columns in their place, and train again. The "
    "training takes no constraint on groups. Where that is what helps, and lines by group are not allowed, the model "
    "wants inputs that tell less of the group; or somebody answers for the finding, with a waiver."
)
MORE = "Give the model what the group lacks: more history, or features that tell its customers apart."
RECENT = "Train again on more recent snapshots: a level that has moved shows in every group."
NO_RIGHT_SEGMENT = (
    "No refit is measured: there is no outcome to say which segments would be the right ones, so none to say what a "
    "refit gains or costs."
)

NOT_MEASURED: Mapping[str, tuple[str, ...]] = {
    TPR_GAP: (MORE,),
    EXPOSURE_RATIO: ("Keep the list, and reach the group by another channel or offer besides.",),
    OBSERVED_EXPECTED: (RECENT, MORE),
    TOTAL_RATIO: (RECENT, MORE),
    ERROR_RATIO: (
        MORE,
        "Use the interval and not the figure alone where this group is concerned.",
        "No refit is measured: how closely a group can be foreseen is for its inputs to tell.",
    ),
    CLUSTER_RATIO: (
        "Look at what the segment stands for: behaviour may differ between groups and be what you want to see.",
        "Do not tie prices, limits or service to the segment while this stands.",
        NO_RIGHT_SEGMENT,
    ),
    CRAMERS_V: (
        "Drop or coarsen the features that go along with the attribute, and train again.",
        NO_RIGHT_SEGMENT,
    ),
}
"""By metric: what a person may try whose effect this audit does not measure."""

CROSSED = "Lines by group and refits are measured for single attributes only, and not for crossed groups."


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
    everybody = _Half(scores, happened, partition.places(groups))
    drawing, measuring = halves(everybody.codes)
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
