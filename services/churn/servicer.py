"""ChurnService: what it answers with the scores of a churn model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_registry.bundle import BundleError
from regulars.churn.v1 import churn_pb2
from services.core.answers import ScoreAnswers
from services.wire import fill

if TYPE_CHECKING:
    from model_registry.bundle import Manifest
    from model_registry.columns import Score, Scores

SERVICE: str = churn_pb2.DESCRIPTOR.services_by_name["ChurnService"].full_name
PORT = 50051

OUTPUT = "churn_probability"
BANDS = ("LOW", "MEDIUM", "HIGH")


def check(manifest: Manifest) -> None:
    """Raises BundleError unless there is a churn probability with the bands of RiskBand and a reference."""
    outputs = {output.name: output for output in manifest.schema.outputs}
    output = outputs.get(OUTPUT)
    if output is None or not output.reference or tuple(band.name for band in output.bands) != BANDS:
        raise BundleError(
            f"the bundle has no output {OUTPUT} with a reference and bands {', '.join(BANDS)}; retrain churn"
        )


class Answers(ScoreAnswers[churn_pb2.ChurnPrediction, churn_pb2.ChurnPredictionTable]):
    """Probability, percentile and risk band."""

    def __init__(self, manifest: Manifest) -> None:
        """Raises BundleError like `check`."""
        check(manifest)
        self.head = {"horizon_days": manifest.horizon_days}

    def _fill_scored(self, row: churn_pb2.ChurnPrediction, score: Score) -> None:
        row.churn_probability = score.values[OUTPUT]
        row.percentile = score.percentiles[OUTPUT]
        row.risk_band = score.bands[OUTPUT] + 1  # type: ignore[assignment]  # 0 is UNSPECIFIED

    def _fill_columns(self, table: churn_pb2.ChurnPredictionTable, scores: Scores) -> None:
        fill(
            table,
            {
                "churn_probabilities": scores.values[OUTPUT],
                "percentiles": scores.percentiles[OUTPUT],
                # 0 is UNSPECIFIED.
                "risk_bands": scores.bands[OUTPUT] + 1,
            },
        )
