"""Values to bins: how a distribution is frozen at training, and how later customers are counted against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.columns import MISSING_CATEGORY
from model_registry.schema import Distribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DECILES = np.arange(1, 10) / 10

FEW_VALUES = 10
"""So many distinct values are a bin each: as many as deciles would make, without mixing neighbours."""


def distribution_of_numbers(values: NDArray[np.float32], edges: Sequence[float] | None = None) -> Distribution:
    """The spread of the numbers of N customers, NaN where missing.

    Edges, unless given, are deciles; a value that fills more than one of them gets a bin of its own.
    """
    chosen = _edges(values[~np.isnan(values)]) if edges is None else np.asarray(edges, np.float64)
    shares = count_numbers(values, chosen) / len(values)
    missing = float(np.isnan(values).mean())
    return Distribution(tuple(chosen.tolist()), tuple(shares.tolist()), missing, unseen=0.0, customers=len(values))


def distribution_of_texts(values: NDArray[np.object_], vocabulary: Sequence[str]) -> Distribution:
    """The spread of the categories of N customers, `MISSING_CATEGORY` where missing."""
    counts, unseen = count_texts(values, vocabulary)
    shares = counts / len(values)
    missing = float((values == MISSING_CATEGORY).mean())
    return Distribution((), tuple(shares.tolist()), missing, unseen / len(values), len(values))


def count_numbers(values: NDArray[np.float32], edges: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows in each bin; those that miss the value are in none."""
    known = values[~np.isnan(values)]
    return np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)


def count_texts(values: NDArray[np.object_], vocabulary: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    """Rows in each category, and rows in none of them, a missing value aside."""
    places = {category: place for place, category in enumerate(vocabulary)}
    known = values[values != MISSING_CATEGORY]
    found = np.array([places.get(text, len(places)) for text in known], np.intp)
    counts = np.bincount(found, minlength=len(places) + 1)
    return counts[:-1], int(counts[-1])


def _edges(known: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where bins begin; none begins at the lowest value, below which there is nothing."""
    distinct = np.unique(known)
    if len(distinct) <= FEW_VALUES:
        return distinct[1:].astype(np.float64)
    # Values that stand in the data, so that float32 holds them.
    deciles = np.quantile(known, DECILES, method="inverted_cdf")
    heaps = deciles[1:][deciles[1:] == deciles[:-1]]
    after = np.searchsorted(distinct, heaps, side="right")
    edges = np.unique(np.concatenate([deciles, distinct[after[after < len(distinct)]]])).astype(np.float64)
    return np.asarray(edges[edges > distinct[0]])
