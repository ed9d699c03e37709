"""CltvService: what it answers with the scores of a lifetime value model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_registry.bundle import BundleError
from regulars.cltv.v1 import cltv_pb2
from services.core.answers import ScoreAnswers
from services.wire import fill

if TYPE_CHECKING:
    from model_registry.bundle import Manifest
    from model_registry.columns import Score, Scores

SERVICE: str = cltv_pb2.DESCRIPTOR.services_by_name["CltvService"].full_name
PORT = 50053

VALUE = "expected_value"
LOWER = "lower_bound"
UPPER = "upper_bound"
LEVEL = "interval_level"


def check(manifest: Manifest) -> None:
    """Raises BundleError unless there is a value with tiers and a reference, its bounds, and the bounds' level."""
    outputs = {output.name: output for output in manifest.schema.outputs}
    value = outputs.get(VALUE)
    if value is None or not value.bands or not value.reference:
        raise BundleError(f"the bundle has no output {VALUE} with tiers and a reference; retrain cltv")
    if any(name not in outputs or outputs[name].unit != value.unit for name in (LOWER, UPPER)):
        raise BundleError(f"the bundle has no outputs {LOWER} and {UPPER} in the unit of {VALUE}; retrain cltv")
    if not 0 < manifest.constants.get(LEVEL, 0) < 1:
        raise BundleError(f"the bundle does not say the {LEVEL} of its bounds, between 0 and 1; retrain cltv")


class Answers(ScoreAnswers[cltv_pb2.LifetimeValuePrediction, cltv_pb2.LifetimeValuePredictionTable]):
    """Value, bounds, tier and percentile, in the currency of the bundle."""

    def __init__(self, manifest: Manifest) -> None:
        """Raises BundleError like `check`."""
        check(manifest)
        value = next(output for output in manifest.schema.outputs if output.name == VALUE)
        self.head = {
            "horizon_days": manifest.horizon_days,
            "currency": value.unit,
            "interval_level": manifest.constants[LEVEL],
        }
        self._tiers = [band.name for band in value.bands]

    def _fill_scored(self, row: cltv_pb2.LifetimeValuePrediction, score: Score) -> None:
        row.expected_value = score.values[VALUE]
        row.lower_bound = score.values[LOWER]
        row.upper_bound = score.values[UPPER]
        row.percentile = score.percentiles[VALUE]
        tier = score.bands[VALUE]
        # A value below the lowest threshold falls into no tier.
        if tier >= 0:
            row.tier = self._tiers[tier]

    def _fill_columns(self, table: cltv_pb2.LifetimeValuePredictionTable, scores: Scores) -> None:
        table.tier_names.extend(self._tiers)
        fill(
            table,
            {
                "expected_values": scores.values[VALUE],
                "lower_bounds": scores.values[LOWER],
                "upper_bounds": scores.values[UPPER],
                "tiers": scores.bands[VALUE],
                "percentiles": scores.percentiles[VALUE],
            },
        )
