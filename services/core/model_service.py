"""ModelService: describes the served model. Every server has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc

if TYPE_CHECKING:
    import grpc

    from model_registry.bundle import Manifest
    from model_registry.schema import Feature
    from services.core.manager import ModelManager

_KINDS = {
    "numeric": scoring_pb2.FEATURE_KIND_NUMERIC,
    "categorical": scoring_pb2.FEATURE_KIND_CATEGORICAL,
}


class ModelServicer(scoring_pb2_grpc.ModelServiceServicer):
    """Answers out of the served bundle's manifest."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    def GetModel(  # noqa: N802 - the method's name in the proto
        self,
        request: scoring_pb2.GetModelRequest,  # noqa: ARG002 - a server serves one model
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> scoring_pb2.GetModelResponse:
        served = self._manager.served()
        return scoring_pb2.GetModelResponse(model_version=served.version, model=_describe(served.manifest))


def _describe(manifest: Manifest) -> scoring_pb2.Model:
    schema = manifest.schema
    return scoring_pb2.Model(
        inputs=[_describe_input(feature) for feature in schema.features],
        outputs=[
            scoring_pb2.Output(
                name=output.name,
                unit=output.unit,
                bands=[scoring_pb2.Band(name=band.name, threshold=band.threshold) for band in output.bands],
            )
            for output in schema.outputs
        ],
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
