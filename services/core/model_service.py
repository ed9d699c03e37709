"""ModelService: describes the served model. Every server has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc

if TYPE_CHECKING:
    import grpc

    from services.core.manager import ModelManager


class ModelServicer(scoring_pb2_grpc.ModelServiceServicer):
    """Answers out of the served bundle's manifest."""

    def __init__(self, manager: ModelManager, limits: scoring_pb2.Limits) -> None:
        self._manager = manager
        self._limits = limits

    def GetModel(  # noqa: N802 - the method's name in the proto
        self,
        request: scoring_pb2.GetModelRequest,  # noqa: ARG002 - a server serves one model
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> scoring_pb2.GetModelResponse:
        served = self._manager.served()
        return scoring_pb2.GetModelResponse(model_version=served.version, model=served.description, limits=self._limits)
