"""Client of ClusteringService."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regulars.clustering.v1 import clustering_pb2
from services.client.base import ScoringClient
from services.client.columns import status_names

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ClusteringClient(
    ScoringClient[
        clustering_pb2.AssignClusterResponse,
        clustering_pb2.BatchAssignClusterResponse,
        clustering_pb2.StreamAssignClusterResponse,
        clustering_pb2.ClusterAssignmentTable,
    ]
):
    """Assigns customers through a clustering server. Every failed call raises CallError."""

    SERVICE = clustering_pb2.DESCRIPTOR.services_by_name["ClusteringService"].full_name

    @staticmethod
    def columns(answers: clustering_pb2.ClusterAssignmentTable) -> dict[str, NDArray[np.generic]]:
        """Cluster and name, distance, the runner-up and its distance, and the three quintiles."""
        names = {cluster.cluster_id: cluster.name for cluster in answers.clusters}
        return {
            "status": status_names(answers.statuses),
            "cluster_id": np.asarray(answers.cluster_ids, np.int32),
            "cluster_name": np.array([names.get(number) for number in answers.cluster_ids], np.object_),
            "distance": np.asarray(answers.distances, np.float32),
            "unusual": np.asarray(answers.unusual, np.bool_),
            "runner_up_id": np.asarray(answers.runner_up_ids, np.int32),
            "runner_up_distance": np.asarray(answers.runner_up_distances, np.float32),
            "recency_score": np.asarray(answers.recency_scores, np.int32),
            "frequency_score": np.asarray(answers.frequency_scores, np.int32),
            "monetary_score": np.asarray(answers.monetary_scores, np.int32),
        }

    @staticmethod
    def _fill_scored(
        answer: clustering_pb2.ClusterAssignment, answers: clustering_pb2.ClusterAssignmentTable, at: int
    ) -> None:
        answer.cluster_id = answers.cluster_ids[at]
        answer.cluster_name = next(one.name for one in answers.clusters if one.cluster_id == answer.cluster_id)
        answer.distance = answers.distances[at]
        answer.runner_up_id = answers.runner_up_ids[at]
        answer.runner_up_distance = answers.runner_up_distances[at]
        answer.unusual = answers.unusual[at]
        answer.recency_score = answers.recency_scores[at]
        answer.frequency_score = answers.frequency_scores[at]
        answer.monetary_score = answers.monetary_scores[at]
