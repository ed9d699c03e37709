"""Client of CltvService."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regulars.cltv.v1 import cltv_pb2
from services.client.base import ScoringClient
from services.client.columns import status_names

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CltvClient(
    ScoringClient[
        cltv_pb2.PredictLifetimeValueResponse,
        cltv_pb2.BatchPredictLifetimeValueResponse,
        cltv_pb2.StreamPredictLifetimeValueResponse,
        cltv_pb2.LifetimeValuePredictionTable,
    ]
):
    """Scores customers through a lifetime value server. Every failed call raises CallError."""

    SERVICE = cltv_pb2.DESCRIPTOR.services_by_name["CltvService"].full_name

    @staticmethod
    def columns(answers: cltv_pb2.LifetimeValuePredictionTable) -> dict[str, NDArray[np.generic]]:
        """Value, percentile, tier and bounds."""
        # Tier -1, not scored, takes the last entry.
        names = np.array([*answers.tier_names, None], np.object_)
        return {
            "status": status_names(answers.statuses),
            "expected_value": np.asarray(answers.expected_values, np.float32),
            "expected_value_percentile": np.asarray(answers.percentiles, np.float32),
            "expected_value_band": names[np.asarray(answers.tiers, np.intp)],
            "lower_bound": np.asarray(answers.lower_bounds, np.float32),
            "upper_bound": np.asarray(answers.upper_bounds, np.float32),
        }

    @staticmethod
    def _fill_scored(
        answer: cltv_pb2.LifetimeValuePrediction, answers: cltv_pb2.LifetimeValuePredictionTable, at: int
    ) -> None:
        answer.expected_value = answers.expected_values[at]
        answer.lower_bound = answers.lower_bounds[at]
        answer.upper_bound = answers.upper_bounds[at]
        answer.percentile = answers.percentiles[at]
        tier = answers.tiers[at]
        # A value below the lowest threshold falls into no tier.
        if tier >= 0:
            answer.tier = answers.tier_names[tier]
