"""Whom a campaign reaches that talks to those with the highest scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audits.statistics import SEED, Rate, Ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from audits.statistics import Estimate

REACHED = "reached"
REACHED_RATIO = "reached_ratio"


def top(scores: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Who is among the `share` of customers with the highest scores (N,), at least one.

    Equal scores are drawn by lot, the same on every run: the order of a table may go along with a group.
    """
    lots = np.random.default_rng(SEED).permutation(len(scores))
    chosen = np.zeros(len(scores), bool)
    chosen[np.lexsort((lots, -scores))[: max(1, round(share * len(scores)))]] = True
    return chosen


def top_of_each(parts: Sequence[NDArray[np.intp]], scores: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Who is among the `share` with the highest scores (N,) of their own part of the customers."""
    chosen = np.zeros(len(scores), bool)
    for rows in parts:
        chosen[rows] = top(scores[rows], share)
    return chosen


def rate(hits: NDArray[np.bool_]) -> Rate:
    """The rate of true ones."""
    return Rate(int(hits.sum()), len(hits))


def contingency(groups: list[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Groups in rows; how many of each are true and how many are not in columns."""
    return np.array([[one.sum(), (~one).sum()] for one in groups], np.int64).reshape(-1, 2)


def exposure(
    reached: NDArray[np.bool_], rows: NDArray[np.intp], reference: NDArray[np.intp] | None, least: int
) -> dict[str, Estimate]:
    """The share of a group that is reached, and its ratio to the reference group's; from `least` customers on.

    Who is reached does not depend on what they do later, so this tells of groups with few outcomes too.
    """
    if len(rows) < least:
        return {}
    told: dict[str, Estimate] = {REACHED: rate(reached[rows])}
    if reference is not None and len(reference) >= least and reached[reference].any():
        told[REACHED_RATIO] = Ratio(rate(reached[rows]), rate(reached[reference]))
    return told
