"""ClusteringService: what it answers with the scores of a clustering model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.bundle import BundleError
from regulars.clustering.v1 import clustering_pb2
from services.core.answers import ScoreAnswers
from services.wire import fill

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_registry.bundle import Manifest
    from model_registry.columns import Score, Scores
    from model_registry.schema import Output

SERVICE: str = clustering_pb2.DESCRIPTOR.services_by_name["ClusteringService"].full_name
PORT = 50054

CLUSTER = "cluster_id"
DISTANCE = "distance"
RUNNER_UP = "runner_up_id"
RUNNER_UP_DISTANCE = "runner_up_distance"
QUINTILES = ("recency_score", "frequency_score", "monetary_score")
OUTPUTS = (CLUSTER, DISTANCE, RUNNER_UP, RUNNER_UP_DISTANCE, *QUINTILES)

BANDS = ("USUAL", "UNUSUAL")
"""Of the distance."""

UNUSUAL = BANDS.index("UNUSUAL")


def check(manifest: Manifest) -> None:
    """Raises BundleError unless every output is there, the clusters with their names, the distance with its bands."""
    outputs = {output.name: output for output in manifest.schema.outputs}
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise BundleError(f"the bundle has no outputs {', '.join(missing)}; retrain clustering")
    if not _names_clusters(outputs[CLUSTER]):
        raise BundleError(f"the bands of output {CLUSTER} are not clusters by their ids from 1; retrain clustering")
    if tuple(band.name for band in outputs[DISTANCE].bands) != BANDS:
        raise BundleError(f"output {DISTANCE} has no bands {', '.join(BANDS)}; retrain clustering")


def _names_clusters(output: Output) -> bool:
    ids = [band.threshold for band in output.bands]
    return bool(ids) and all(number >= 1 and number == int(number) for number in ids)


class Answers(ScoreAnswers[clustering_pb2.ClusterAssignment, clustering_pb2.ClusterAssignmentTable]):
    """Cluster and next nearest cluster with their distances, and the quintiles of recency, frequency and money."""

    def __init__(self, manifest: Manifest) -> None:
        """Raises BundleError like `check`."""
        check(manifest)
        bands = next(output.bands for output in manifest.schema.outputs if output.name == CLUSTER)
        self.head = {}
        self._names = {int(band.threshold): band.name for band in bands}

    def _fill_scored(self, row: clustering_pb2.ClusterAssignment, score: Score) -> None:
        values = score.values
        row.cluster_id = int(values[CLUSTER])
        row.cluster_name = self._names[row.cluster_id]
        row.distance = values[DISTANCE]
        row.runner_up_id = int(values[RUNNER_UP])
        row.runner_up_distance = values[RUNNER_UP_DISTANCE]
        row.unusual = score.bands[DISTANCE] == UNUSUAL
        row.recency_score, row.frequency_score, row.monetary_score = (int(values[name]) for name in QUINTILES)

    def _fill_columns(self, table: clustering_pb2.ClusterAssignmentTable, scores: Scores) -> None:
        ids, runners_up = _whole(scores.values[CLUSTER]), _whole(scores.values[RUNNER_UP])
        # The runners-up too: every id of the table has its name there. 0 is nobody's.
        for number in np.union1d(ids, runners_up).tolist():
            if number:
                table.clusters.add(cluster_id=number, name=self._names[number])
        fill(
            table,
            {
                "cluster_ids": ids,
                "distances": scores.values[DISTANCE],
                "runner_up_ids": runners_up,
                "runner_up_distances": scores.values[RUNNER_UP_DISTANCE],
                "unusual": scores.bands[DISTANCE] == UNUSUAL,
                **{f"{name}s": _whole(scores.values[name]) for name in QUINTILES},
            },
        )


def _whole(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Whole numbers out of a graph's floats; 0 where NaN."""
    return np.nan_to_num(values).astype(np.int32)
