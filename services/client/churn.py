"""Client of ChurnService."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regulars.churn.v1 import churn_pb2
from services.client.base import ScoringClient
from services.client.columns import names_of, status_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BANDS: dict[int, str | None] = {
    number: name.removeprefix("RISK_BAND_") if number else None for name, number in churn_pb2.RiskBand.items()
}


class ChurnClient(
    ScoringClient[
        churn_pb2.PredictChurnResponse,
        churn_pb2.BatchPredictChurnResponse,
        churn_pb2.StreamPredictChurnResponse,
        churn_pb2.ChurnPredictionTable,
    ]
):
    """Scores customers through a churn server. Every failed call raises CallError."""

    SERVICE = churn_pb2.DESCRIPTOR.services_by_name["ChurnService"].full_name

    @staticmethod
    def columns(answers: churn_pb2.ChurnPredictionTable) -> dict[str, NDArray[np.generic]]:
        """Probability, percentile and band."""
        return {
            "status": status_names(answers.statuses),
            "churn_probability": np.asarray(answers.churn_probabilities, np.float32),
            "churn_probability_percentile": np.asarray(answers.percentiles, np.float32),
            "churn_probability_band": names_of(answers.risk_bands, _BANDS),
        }

    @staticmethod
    def _fill_scored(answer: churn_pb2.ChurnPrediction, answers: churn_pb2.ChurnPredictionTable, at: int) -> None:
        answer.churn_probability = answers.churn_probabilities[at]
        answer.percentile = answers.percentiles[at]
        answer.risk_band = answers.risk_bands[at]
