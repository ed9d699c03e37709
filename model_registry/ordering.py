"""In which order the customers of a table pass through the trees.

At every split a processor guesses where the next customer goes, and wrong guesses are two thirds of what a run costs.
So a graph says through which cuts its trees part customers most, and a table is sorted by the sides of these on which
its customers stand: neighbours then go the same ways. No score depends on its neighbours.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Cut = tuple[int, float]
    """A numeric feature's place in the schema, and the number up to which customers stand on one side."""

CUTS = "regulars.cuts"
"""Under which of its properties a graph holds its cuts, as JSON."""

MOST_CUTS = 8
"""A byte of sides, which sorts fastest. Sixteen made runs of 1,000 no faster, and of 20,000 by a twentieth."""

LEAST_ROWS = 100
"""Sorting fewer costs what it gains."""

_CODES = np.arange(2**MOST_CUTS)
_RANKS = np.empty(len(_CODES), np.uint8)
"""The place of each byte in Gray's order, in which neighbours differ in one side alone."""
_RANKS[_CODES ^ _CODES >> 1] = _CODES


class Ordering:
    """The order by some cuts."""

    def __init__(self, cuts: Sequence[Cut]) -> None:
        self._features = np.array([feature for feature, _ in cuts], np.intp)
        self._ends = np.array([end for _, end in cuts], np.float32)

    def of(self, numeric: NDArray[np.float32]) -> NDArray[np.intp]:
        """The rows of `numeric` (N, numeric features), sorted."""
        sides = np.packbits(numeric.take(self._features, axis=1) <= self._ends, axis=1)
        return np.argsort(_RANKS[sides[:, 0]], kind="stable")


def choose_cuts(thresholds: Mapping[int, Sequence[float]]) -> list[Cut]:
    """Cuts in the middle of where most splits are. `thresholds` holds a threshold for each split, by its feature."""
    crowds = [(feature, sorted(values)) for feature, values in sorted(thresholds.items())]
    cuts: list[Cut] = []
    while crowds and len(cuts) < MOST_CUTS:
        feature, values = crowds.pop(max(range(len(crowds)), key=lambda at: len(crowds[at][1])))
        cut = values[len(values) // 2]
        cuts.append((feature, cut))
        halves = [value for value in values if value < cut], [value for value in values if value > cut]
        crowds += [(feature, half) for half in halves if half]
    return cuts


def properties_of(cuts: Sequence[Cut]) -> dict[str, str]:
    """The properties of a graph with these cuts."""
    return {CUTS: json.dumps(cuts)} if cuts else {}


def ordering_of(properties: Mapping[str, str], features: int) -> Ordering | None:
    """The order that a graph of so many numeric features asks for, if it asks for one.

    Raises:
        ValueError: its cuts cannot be read.
    """
    if CUTS not in properties:
        return None
    try:
        cuts = [(int(feature), float(end)) for feature, end in json.loads(properties[CUTS])]
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError("cuts are pairs of a feature and a number") from error
    if not 1 <= len(cuts) <= MOST_CUTS or not all(0 <= feature < features for feature, _ in cuts):
        raise ValueError(f"a graph has up to {MOST_CUTS} cuts, all through its features")
    return Ordering(cuts)
