"""PropensityService: what it answers with the scores of a propensity model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.bundle import BundleError
from regulars.propensity.v1 import propensity_pb2
from services.core.answers import ScoreAnswers
from services.wire import fill

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_registry.bundle import Manifest
    from model_registry.columns import Score, Scores
    from model_registry.schema import Output

SERVICE: str = propensity_pb2.DESCRIPTOR.services_by_name["PropensityService"].full_name
PORT = 50052

PURCHASE = "purchase_probability"
RESPONSE = "response_probability"


def check(manifest: Manifest) -> None:
    """Raises BundleError unless a purchase probability with a reference comes first, and only known outputs follow."""
    outputs = manifest.schema.outputs
    if not outputs or outputs[0].name != PURCHASE or not outputs[0].reference:
        raise BundleError(f"the first output of the bundle is not {PURCHASE} with a reference; retrain propensity")
    for output in outputs[1:]:
        if output.name != RESPONSE and not _is_of_category(output):
            raise BundleError(f"output {output.name} is of no category and not {RESPONSE}; retrain propensity")


def _is_of_category(output: Output) -> bool:
    return bool(output.category) and output.name == f"{PURCHASE}[{output.category}]"


class Answers(ScoreAnswers[propensity_pb2.PropensityPrediction, propensity_pb2.PropensityPredictionTable]):
    """Probability and percentile, the categories by rank, and the response to a campaign where it is known."""

    def __init__(self, manifest: Manifest) -> None:
        """Raises BundleError like `check`."""
        check(manifest)
        outputs = manifest.schema.outputs
        self.head = {"horizon_days": manifest.horizon_days}
        self._categories = {output.name: output.category for output in outputs if output.category}
        self._tells_response = any(output.name == RESPONSE for output in outputs)

    def _fill_scored(self, row: propensity_pb2.PropensityPrediction, score: Score) -> None:
        row.purchase_probability = score.values[PURCHASE]
        row.percentile = score.percentiles[PURCHASE]
        # Stable: equally likely categories keep the order of the schema.
        for name in sorted(self._categories, key=score.values.__getitem__, reverse=True):
            row.categories.add(category=self._categories[name], purchase_probability=score.values[name])
        if self._tells_response:
            row.response_probability = score.values[RESPONSE]

    def _fill_columns(self, table: propensity_pb2.PropensityPredictionTable, scores: Scores) -> None:
        fill(table, {"purchase_probabilities": scores.values[PURCHASE], "percentiles": scores.percentiles[PURCHASE]})
        if self._tells_response:
            fill(table, {"response_probabilities": scores.values[RESPONSE]})
        columns = [scores.values[name] for name in self._categories]
        for category, column, ranks in zip(self._categories.values(), columns, _ranks(columns), strict=True):
            fill(table.categories.add(category=category), {"purchase_probabilities": column, "ranks": ranks})


def _ranks(columns: list[NDArray[np.float32]]) -> list[NDArray[np.intp]]:
    """Each column's rank in every row: 1 for the largest, the first of equals before the others, 0 where NaN."""
    if not columns:
        return []
    values = np.stack(columns)
    order = np.argsort(-values, axis=0, kind="stable")
    ranks = np.argsort(order, axis=0) + 1
    return list(np.where(np.isnan(values), 0, ranks))
