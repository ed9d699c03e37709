"""A served model in words that a caller reads: `regulars.scoring.v1.Model` out of a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regulars.scoring.v1 import scoring_pb2

if TYPE_CHECKING:
    from model_registry.bundle import Manifest
    from model_registry.schema import Feature, Output

_KINDS = {
    "numeric": scoring_pb2.FEATURE_KIND_NUMERIC,
    "categorical": scoring_pb2.FEATURE_KIND_CATEGORICAL,
}


def describe(manifest: Manifest) -> scoring_pb2.Model:
    """Raises TypeError or ValueError on a manifest that holds something else than its types say."""
    schema = manifest.schema
    return scoring_pb2.Model(
        inputs=[_describe_input(feature) for feature in schema.features],
        outputs=[_describe_output(output) for output in schema.outputs],
        population=[
            scoring_pb2.PopulationRule(
                feature=rule.feature,
                minimum=rule.minimum,
                maximum=rule.maximum,
                status=int(rule.status),  # type: ignore[arg-type]  # the numbers are those of ScoreStatus
            )
            for rule in schema.population
        ],
        horizon_days=manifest.horizon_days,
        training_window=scoring_pb2.TrainingWindow(
            first_snapshot=manifest.training_window.first_snapshot,
            last_snapshot=manifest.training_window.last_snapshot,
            test_snapshot=manifest.training_window.test_snapshot,
        ),
        metrics=manifest.metrics,
        trained_at=manifest.trained_at,
    )


def _describe_input(feature: Feature) -> scoring_pb2.Input:
    return scoring_pb2.Input(
        name=feature.name,
        kind=_KINDS[feature.kind],
        unit=feature.unit,
        description=feature.description,
        nullable=feature.nullable,
        minimum=feature.minimum,
        maximum=feature.maximum,
        vocabulary=feature.vocabulary,
    )


def _describe_output(output: Output) -> scoring_pb2.Output:
    spread = output.distribution
    return scoring_pb2.Output(
        name=output.name,
        unit=output.unit,
        bands=[scoring_pb2.Band(name=band.name, threshold=band.threshold) for band in output.bands],
        category=output.category,
        distribution=None
        if spread is None
        else scoring_pb2.Distribution(
            edges=spread.edges, shares=spread.shares, missing=spread.missing, customers=spread.customers
        ),
    )
