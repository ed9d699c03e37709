"""How many segments: as many as come back, are large enough to act on, and are nearly as well apart as fewer.

- Stability: refits on resampled customers agree with the fit on all, by a mean adjusted Rand index of 0.85 at least. A
  campaign must not hang on who happened to be sampled.
- Recovery: each segment comes back in the refits, by a mean Jaccard index of 0.75 at least. Where a group of people all
  alike is cut in two anywhere, the Rand index hardly notices, but the halves do not come back. Hennig, "Cluster-wise
  assessment of cluster stability" (2007), doubts segments below that.
- Smallest: each holds 5 % of the customers at least. Fewer are not worth words and pictures of their own.
- Silhouette: at most 0.1 below the best of those that pass. Customers are a continuum, in which it falls with every
  further segment, and alone it would pick one whale against everyone.

Of those that pass, the most segments win. But the champion's number stays if it is among them, unless the winner's
silhouette is better by 0.05: campaigns are built on segments, and what differs less may be back next month.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import adjusted_rand_score, pairwise_distances, silhouette_samples

from training.clustering.centroids import fit_centroids, nearest
from training.core.errors import NotEligibleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

STABLE = 0.85
RECOVERED = 0.75
SMALLEST = 0.05
SILHOUETTE_COST = 0.1
SILHOUETTE_GAIN = 0.05

NUMBERS = range(3, 9)
REFITS = 20
STARTS = 20
REFIT_STARTS = 5
"""K-means stops at the first optimum it meets; from so many starts it meets the best one nearly always."""

SEED = 7
SILHOUETTE_ROWS = 3000
"""Customers whose distances to each other are compared: a silhouette takes the square of their number."""


@dataclass(frozen=True)
class Candidate:
    """So many segments, with what speaks for and against them.

    `centroids` are (k, F), `agreements` (REFITS,) the refits' adjusted Rand indices.
    """

    centroids: NDArray[np.float64]
    agreements: NDArray[np.float64]
    recovery: float
    smallest: float
    silhouette: float

    @property
    def k(self) -> int:
        return len(self.centroids)

    @property
    def stability(self) -> float:
        return float(self.agreements.mean())

    @property
    def passes(self) -> bool:
        """Whether every segment comes back, and is large enough."""
        return self.stability >= STABLE and self.recovery >= RECOVERED and self.smallest >= SMALLEST

    def __str__(self) -> str:
        return (
            f"{self.k} segments: stability {self.stability:.2f}, recovery {self.recovery:.2f}, "
            f"smallest {self.smallest:.1%}, silhouette {self.silhouette:.2f}"
        )


def candidates(
    coordinates: NDArray[np.float64],
    customer_ids: NDArray[np.object_],
    latest: NDArray[np.bool_],
    progress: Callable[[str], None],
) -> Iterator[Candidate]:
    """Every number of segments, tried.

    Args:
        coordinates: (N, F), customers at snapshots.
        customer_ids: (N,); customers are resampled with all their snapshots, which are no evidence of their own.
        latest: (N,), the rows of the last snapshot: everybody once, as they are now. Refits are compared on them.
        progress: called with a short line for every number.
    """
    now = coordinates[latest]
    apart = Silhouettes.of(now)
    resamples = list(_resamples(customer_ids))
    for k in NUMBERS:
        progress(f"trying {k} segments on {REFITS} resamples")
        centroids = fit_centroids(coordinates, k, starts=STARTS, seed=SEED)
        segments = nearest(now, centroids).own
        refits = [
            nearest(now, fit_centroids(coordinates, k, weights=weights, starts=REFIT_STARTS, seed=SEED + at)).own
            for at, weights in enumerate(resamples)
        ]
        yield Candidate(
            centroids,
            np.array([adjusted_rand_score(segments, refit) for refit in refits]),
            float(np.mean([recoveries(segments, refit, k) for refit in refits], axis=0).min()),
            float(np.bincount(segments, minlength=k).min() / len(segments)),
            float(apart.of_segments(segments).mean()),
        )


def choose(tried: Iterable[Candidate], reigning: int | None) -> Candidate:
    """The candidate to train; `reigning` is the champion's number of segments, if there is a champion.

    Raises:
        NotEligibleError: no number of segments is stable and balanced enough, with the figures of all.
    """
    everything = list(tried)
    passing = [one for one in everything if one.passes]
    if not passing:
        raise NotEligibleError(
            f"no number of segments comes back with a stability of {STABLE} and a recovery of {RECOVERED} and leaves "
            f"{SMALLEST:.0%} of the customers in each ({'; '.join(map(str, everything))}); these customers are too "
            "few or too much alike to be told apart; train again when there is more data"
        )
    best = max(one.silhouette for one in passing)
    *fewer, winner = (one for one in passing if one.silhouette >= best - SILHOUETTE_COST)
    near = (one for one in fewer if one.silhouette >= winner.silhouette - SILHOUETTE_GAIN)
    return next((one for one in near if one.k == reigning), winner)


def recoveries(segments: NDArray[np.intp], refit: NDArray[np.intp], k: int) -> NDArray[np.float64]:
    """How much of each segment the refit has found again (k,): the largest Jaccard index with one of its segments."""
    shared = overlaps(segments, refit, (k, k))
    either = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
    # An empty segment is found nowhere.
    recovered: NDArray[np.float64] = (shared / np.maximum(either, 1)).max(axis=1)
    return recovered


def overlaps(rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, int]) -> NDArray[np.intp]:
    """How many customers are in each pair of places."""
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


@dataclass(frozen=True)
class Silhouettes:
    """How well customers sit in their segments: Rousseeuw, "Silhouettes" (1987).

    `rows` are the customers looked at, all or a sample; `distances` (rows, rows) are between them.
    """

    rows: NDArray[np.intp]
    distances: NDArray[np.float64]

    @classmethod
    def of(cls, coordinates: NDArray[np.float64]) -> Silhouettes:
        """Of customers (N, F)."""
        drawn = np.random.default_rng(SEED).permutation(len(coordinates))[:SILHOUETTE_ROWS]
        rows = np.sort(drawn)
        return cls(rows, pairwise_distances(coordinates[rows]))

    def of_segments(self, segments: NDArray[np.intp]) -> NDArray[np.float64]:
        """From -1 to 1 for each of `rows`, where customers are in `segments` (N,); 0 where all are in one."""
        labels = segments[self.rows]
        if not 1 < len(np.unique(labels)) < len(labels):
            return np.zeros(len(labels))
        silhouettes: NDArray[np.float64] = silhouette_samples(self.distances, labels, metric="precomputed")
        return silhouettes


def _resamples(customer_ids: NDArray[np.object_]) -> Iterator[NDArray[np.float64]]:
    """How often each row counts when customers are drawn with replacement."""
    random = np.random.default_rng(SEED)
    _, customers = np.unique(customer_ids, return_inverse=True)
    count = int(customers.max()) + 1
    for _ in range(REFITS):
        drawn = np.bincount(random.integers(0, count, count), minlength=count)
        yield drawn[customers].astype(np.float64)
