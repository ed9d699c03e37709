"""Ids that outlive retraining: which new segment is which old one, told by the customers they share.

Shared customers need no centroids, so a change of features does not break the line. The pairs are matched by the
Hungarian method (Kuhn, "The Hungarian method for the assignment problem", 1955), so that as many customers as possible
keep their id. A pair that shares too few is none: the old segment ends, and the new one gets an id that nobody had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from training.clustering.choice import overlaps
from training.clustering.model import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from training.core.champion import Champion

LEAST_OVERLAP = 1 / 3
"""Of the customers in either, those in both: two segments of one size then share half of their customers."""

MOST = 0.5
"""A segment comes from another, or goes into it, with more than half of its customers."""

HIGHEST = "highest_cluster_id"
"""The constant of a bundle that keeps the highest id ever given, so that no later segment gets it again."""


@dataclass(frozen=True)
class Reign:
    """The champion's segments: their names by id, the highest id ever given, and the ids of customers (N,)."""

    names: Mapping[int, str]
    highest: int
    ids: NDArray[np.intp]

    @classmethod
    def of(cls, champion: Champion) -> Reign | None:
        """Over the test part; None where there is no champion, or none that can be asked."""
        if champion.scores is None or champion.manifest is None:
            return None
        bands = next(output.bands for output in champion.manifest.schema.outputs if output.name == CLUSTER)
        names = {int(band.threshold): band.name for band in bands}
        highest = int(champion.manifest.constants.get(HIGHEST, max(names)))
        return cls(names, highest, champion.scores[CLUSTER].astype(np.intp))


@dataclass(frozen=True)
class Lineage:
    """Where the segments of a model come from.

    `ids` are the durable ids by place, `former` those of the champion, ascending; `shared` (k, former) counts
    customers; `highest` is the highest id that was ever given.
    """

    ids: tuple[int, ...]
    former: tuple[int, ...]
    shared: NDArray[np.intp]
    highest: int

    @classmethod
    def first(cls, k: int) -> Lineage:
        """That of a model without a champion: the places from 1."""
        return cls(tuple(range(1, k + 1)), (), np.zeros((k, 0), np.intp), k)

    @classmethod
    def after(cls, reign: Reign, segments: NDArray[np.intp], k: int) -> Lineage:
        """That of a model after a champion; `segments` (N,) are the same customers by place, from 0 to k - 1."""
        former = tuple(sorted(reign.names))
        shared = overlaps(segments, np.searchsorted(former, reign.ids), (k, len(former)))
        order = _by_size(segments, k)
        ids = [0] * k
        for row, column in _matched(shared[order]):
            ids[order[row]] = former[column]
        highest = reign.highest
        for place in order:
            if not ids[place]:
                highest += 1
                ids[place] = highest
        return cls(tuple(ids), former, shared, highest)

    @property
    def kept(self) -> float:
        """The share of the customers who keep their id; 1 where there was none to keep."""
        if not self.former:
            return 1.0
        same = np.array(self.ids)[:, None] == np.array(self.former)
        return float(self.shared[same].sum() / self.shared.sum())

    @property
    def births(self) -> tuple[int, ...]:
        return tuple(sorted(set(self.ids) - set(self.former))) if self.former else ()

    @property
    def deaths(self) -> tuple[int, ...]:
        return tuple(sorted(set(self.former) - set(self.ids)))

    @property
    def splits(self) -> dict[int, tuple[int, ...]]:
        """The new ids that come from one old one, where there are several."""
        return _several(_majorities(self.shared).T, self.former, self.ids)

    @property
    def merges(self) -> dict[int, tuple[int, ...]]:
        """The old ids that go into one new one, where there are several."""
        return _several(_majorities(self.shared.T).T, self.ids, self.former)

    def story(self, names: Sequence[str], former: Mapping[int, str]) -> tuple[str, ...]:
        """What became of the champion's segments, in words; nothing where all live on under their names.

        `names` are those of the segments by place, `former` the champion's by id.
        """
        return tuple(self._told(dict(zip(self.ids, names, strict=True)), former))

    def _told(self, names: Mapping[int, str], former: Mapping[int, str]) -> Iterator[str]:
        for old, parts in self.splits.items():
            yield f"Segment {old} ({former[old]}) has split into {_listed(parts, names)}."
        for new, parts in self.merges.items():
            yield f"Segments {_listed(parts, former)} have merged into {new} ({names[new]})."
        for old in self.deaths:
            yield f"Segment {old} ({former[old]}) has ended; its number is not given again."
        for new in self.births:
            yield f"Segment {new} ({names[new]}) is new."
        for number, name in names.items():
            if former.get(number, name) != name:
                yield f"Segment {number} is called {name} now; it was {former[number]}."


def _by_size(segments: NDArray[np.intp], k: int) -> list[int]:
    """Places from the largest segment down, the first customer deciding ties: an order that labels have no say in."""
    firsts = np.full(k, len(segments))
    np.minimum.at(firsts, segments, np.arange(len(segments)))
    order: list[int] = np.lexsort((firsts, -np.bincount(segments, minlength=k))).tolist()
    return order


def _matched(shared: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Rows and columns that are one segment."""
    either = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
    enough = shared >= LEAST_OVERLAP * np.maximum(either, 1)
    rows, columns = linear_sum_assignment(np.where(enough, shared, 0), maximize=True)
    return [pair for pair in zip(rows.tolist(), columns.tolist(), strict=True) if enough[pair]]


def _majorities(shared: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Where a column holds more than half of a row."""
    return np.asarray(shared > MOST * shared.sum(axis=1, keepdims=True))


def _several(held: NDArray[np.bool_], rows: Sequence[int], columns: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """By row, the columns that it holds, where there is more than one."""
    found = {row: tuple(np.array(columns)[mask].tolist()) for row, mask in zip(rows, held, strict=True)}
    return {row: tuple(sorted(parts)) for row, parts in sorted(found.items()) if len(parts) > 1}


def _listed(numbers: Sequence[int], names: Mapping[int, str]) -> str:
    *others, last = [f"{number} ({names[number]})" for number in numbers]
    return f"{', '.join(others)} and {last}"
