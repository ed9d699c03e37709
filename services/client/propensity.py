"""Client of PropensityService."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regulars.propensity.v1 import propensity_pb2
from services.client.base import ScoringClient
from services.client.columns import status_names

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PropensityClient(
    ScoringClient[
        propensity_pb2.PredictPropensityResponse,
        propensity_pb2.BatchPredictPropensityResponse,
        propensity_pb2.StreamPredictPropensityResponse,
        propensity_pb2.PropensityPredictionTable,
    ]
):
    """Scores customers through a propensity server. Every failed call raises CallError."""

    SERVICE = propensity_pb2.DESCRIPTOR.services_by_name["PropensityService"].full_name

    @staticmethod
    def columns(answers: propensity_pb2.PropensityPredictionTable) -> dict[str, NDArray[np.generic]]:
        """Probability and percentile, a probability for each category, and that of a response where it is known."""
        columns: dict[str, NDArray[np.generic]] = {
            "status": status_names(answers.statuses),
            "purchase_probability": np.asarray(answers.purchase_probabilities, np.float32),
            "purchase_probability_percentile": np.asarray(answers.percentiles, np.float32),
        }
        for column in answers.categories:
            name = f"purchase_probability[{column.category}]"
            columns[name] = np.asarray(column.purchase_probabilities, np.float32)
        if answers.response_probabilities:
            columns["response_probability"] = np.asarray(answers.response_probabilities, np.float32)
        return columns

    @staticmethod
    def _fill_scored(
        answer: propensity_pb2.PropensityPrediction, answers: propensity_pb2.PropensityPredictionTable, at: int
    ) -> None:
        answer.purchase_probability = answers.purchase_probabilities[at]
        answer.percentile = answers.percentiles[at]
        for column in sorted(answers.categories, key=lambda column: column.ranks[at]):
            answer.categories.add(category=column.category, purchase_probability=column.purchase_probabilities[at])
        if answers.response_probabilities:
            answer.response_probability = answers.response_probabilities[at]
