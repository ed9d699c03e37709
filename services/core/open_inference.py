"""The Open Inference Protocol over the served model, so that clients of Triton and KServe work unchanged.

The same bits as the model's own service: what differs is the form of customers and scores.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import grpc

from regulars.open_inference.v2 import open_inference_pb2
from services.core.errors import UNKNOWN_MODEL, Refusal, Resource
from services.core.metrics import SAMPLE
from services.core.stages import StageMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.core.endpoints import Endpoints
    from services.core.manager import Served
    from services.core.scorer import Scorer

SERVICE: str = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

SERVER = "regulars"
PLATFORM = "onnxruntime_onnx"
"""As Triton calls the runtime that scores here too."""


class OpenInferenceServicer:
    """Answers for one model, by its name and whatever version is served."""

    def __init__(self, model: str, scorer: Scorer, is_ready: Callable[[], bool]) -> None:
        """`is_ready` tells whether calls are welcome: a model is served, and the server does not drain."""
        self._model = model
        self._scorer = scorer
        self._is_ready = is_ready
        self._stages = StageMetrics(SERVICE, "ModelInfer", every=SAMPLE)

    def register(self, endpoints: Endpoints, probes: Endpoints) -> None:
        """`probes` takes the calls that orchestrators ask for health: they must not wait behind scoring."""
        health = _handlers(ServerLive=self.server_live, ServerReady=self.server_ready, ModelReady=self.model_ready)
        others = _handlers(
            ServerMetadata=self.server_metadata, ModelMetadata=self.model_metadata, ModelInfer=self.model_infer
        )
        probes.add_registered_method_handlers(SERVICE, health)
        endpoints.add_registered_method_handlers(SERVICE, others)

    def server_live(
        self,
        request: open_inference_pb2.ServerLiveRequest,  # noqa: ARG002 - it is empty
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> open_inference_pb2.ServerLiveResponse:
        return open_inference_pb2.ServerLiveResponse(live=True)

    def server_ready(
        self,
        request: open_inference_pb2.ServerReadyRequest,  # noqa: ARG002 - it is empty
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> open_inference_pb2.ServerReadyResponse:
        return open_inference_pb2.ServerReadyResponse(ready=self._is_ready())

    def model_ready(
        self,
        request: open_inference_pb2.ModelReadyRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> open_inference_pb2.ModelReadyResponse:
        """What is unknown is not ready, rather than an error: callers ask until a version has come."""
        ready = self._is_ready() and self._serves(request.name, request.version)
        return open_inference_pb2.ModelReadyResponse(ready=ready)

    def server_metadata(
        self,
        request: open_inference_pb2.ServerMetadataRequest,  # noqa: ARG002 - it is empty
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> open_inference_pb2.ServerMetadataResponse:
        return open_inference_pb2.ServerMetadataResponse(name=SERVER, version=_version())

    def model_metadata(
        self,
        request: open_inference_pb2.ModelMetadataRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> open_inference_pb2.ModelMetadataResponse:
        served = self._served(request.name, request.version)
        return open_inference_pb2.ModelMetadataResponse(
            name=self._model,
            versions=[served.version.version],
            platform=PLATFORM,
            inputs=served.tensors.describe_inputs(),
            outputs=served.tensors.describe_outputs(),
        )

    def model_infer(
        self, request: open_inference_pb2.ModelInferRequest, context: grpc.ServicerContext
    ) -> open_inference_pb2.ModelInferResponse:
        served = self._served(request.model_name, request.model_version)
        stages = self._stages.of_call()
        stages.start()
        with stages.decode():
            columns = served.tensors.decode(request)
        scores = self._scorer.score(served, columns, context, stages)
        response = open_inference_pb2.ModelInferResponse(
            model_name=self._model, model_version=served.version.version, id=request.id
        )
        with stages.encode():
            served.tensors.encode(scores, request, response)
        return response

    def _serves(self, model: str, version: str) -> bool:
        try:
            self._served(model, version)
        except Refusal:
            return False
        return True

    def _served(self, model: str, version: str) -> Served:
        """What serves the model in that version, any if it is empty.

        Raises:
            Refusal: UNKNOWN_MODEL, NO_MODEL.
        """
        if model != self._model:
            raise Refusal(UNKNOWN_MODEL, resource=Resource("model", model))
        served = self._scorer.manager.served()
        if version not in {"", served.version.version}:
            raise Refusal(UNKNOWN_MODEL, resource=Resource("model version", version))
        return served


def _handlers(**behaviours: Callable[..., Any]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Requests and responses bear the names of their method."""
    return {
        name: grpc.unary_unary_rpc_method_handler(
            behaviour,
            getattr(open_inference_pb2, f"{name}Request").FromString,
            getattr(open_inference_pb2, f"{name}Response").SerializeToString,
        )
        for name, behaviour in behaviours.items()
    }


def _version() -> str:
    try:
        return version("regulars")
    except PackageNotFoundError:
        # The sources run where they lie, as in an environment that holds the serving requirements alone.
        return ""
