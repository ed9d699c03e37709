"""A fitted segmentation: from customers to the ids and distances of their segments, in doubles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.clustering.centroids import nearest
from training.clustering.fifths import SCORES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_registry.columns import Columns
    from training.clustering.fifths import Fifths
    from training.clustering.space import Space

CLUSTER = "cluster_id"
DISTANCE = "distance"
RUNNER_UP = "runner_up_id"
RUNNER_UP_DISTANCE = "runner_up_distance"


@dataclass(frozen=True)
class SegmentModel:
    """The native model. `centroids` are (k, F), `ids` the durable ids by place."""

    space: Space
    centroids: NDArray[np.float64]
    ids: tuple[int, ...]
    fifths: Fifths

    def segments(self, numeric: NDArray[np.float32]) -> NDArray[np.intp]:
        """The places (N,) of customers (N, F)."""
        return nearest(self.space.coordinates(numeric), self.centroids).own

    def scores(self, columns: Columns) -> dict[str, NDArray[np.float64]]:
        """What the graph must reproduce: (N,) by output name."""
        near = nearest(self.space.coordinates(columns.numeric), self.centroids)
        ids = np.array(self.ids, np.float64)
        return {
            CLUSTER: ids[near.own],
            DISTANCE: near.distance,
            RUNNER_UP: ids[near.other],
            RUNNER_UP_DISTANCE: near.other_distance,
            **dict(zip(SCORES, self.fifths.scores(columns.numeric).T, strict=True)),
        }
