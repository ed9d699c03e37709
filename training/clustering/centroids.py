"""Centroids and who belongs to them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from training.clustering.space import FREQUENCY, MONETARY, RECENCY

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Nearest:
    """The nearest and the second nearest centroid of N customers: places from 0, and distances."""

    own: NDArray[np.intp]
    distance: NDArray[np.float64]
    other: NDArray[np.intp]
    other_distance: NDArray[np.float64]


def nearest(coordinates: NDArray[np.float64], centroids: NDArray[np.float64]) -> Nearest:
    """For customers (N, F) and centroids (k, F), k at least 2. Of two as near, the first."""
    gaps = coordinates[:, None, :] - centroids
    distances = np.sqrt((gaps * gaps).sum(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :2]
    ranked = np.take_along_axis(distances, order, axis=1)
    return Nearest(order[:, 0], ranked[:, 0], order[:, 1], ranked[:, 1])


def fit_centroids(
    coordinates: NDArray[np.float64], k: int, *, starts: int, seed: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """The best of several k-means, (k, F), of customers (N, F) who count `weights` (N,) times, by default once.

    From the best segment, of many orders, much money and little silence, to the worst.
    """
    # Threads cost more than they give on so few rows, and on a busy machine ten times more.
    with threadpool_limits(1), warnings.catch_warnings():
        # Fewer distinct customers than centroids leave some empty, and an empty segment is refused later on.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(k, n_init=starts, random_state=seed).fit(coordinates, sample_weight=weights)
    found: NDArray[np.float64] = fitted.cluster_centers_
    worth = found[:, FREQUENCY] + found[:, MONETARY] - found[:, RECENCY]
    return found[np.argsort(-worth, kind="stable")]


def midway(coordinates: NDArray[np.float64], centroids: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Customers (N, F) moved beside the border between their own and the second nearest centroid: (2N, F).

    Along the line through both centroids, first `step` of its length before the border, then as far behind it.
    """
    near = nearest(coordinates, centroids)
    way = centroids[near.other] - centroids[near.own]
    length = (way * way).sum(axis=1)
    # The difference of squared distances falls linearly along the way, by twice its squared length.
    to_border = (near.other_distance**2 - near.distance**2) / (2.0 * length)
    return np.concatenate([coordinates + (to_border + side)[:, None] * way for side in (-step, step)])
