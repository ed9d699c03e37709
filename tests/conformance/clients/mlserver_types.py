"""MLServer's types and their converters, as its own command uses them, over its stubs."""

from __future__ import annotations

import grpc
from mlserver.grpc.converters import ModelInferRequestConverter, ModelInferResponseConverter
from mlserver.grpc.dataplane_pb2 import ModelReadyRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, RequestOutput

from tests.conformance.clients.script import (
    MODELS,
    SERVER,
    TIMEOUT_SECONDS,
    Answer,
    Case,
    array_of,
    cases,
    failure,
    output,
    target,
    tell,
)


def request_of(case: Case) -> InferenceRequest:
    return InferenceRequest(
        id=case["id"],
        inputs=[
            RequestInput(
                name=tensor["name"],
                datatype=tensor["datatype"],
                shape=tensor["shape"],
                data=array_of(tensor).ravel().tolist(),
            )
            for tensor in case["inputs"]
        ],
        outputs=[RequestOutput(name=name) for name in case["outputs"]] or None,
    )


def answer_of(response: InferenceResponse) -> Answer:
    return {
        "model": response.model_name,
        "version": response.model_version,
        "id": response.id,
        "outputs": {
            tensor.name: output(tensor.datatype, tensor.shape, list(tensor.data)) for tensor in response.outputs
        },
    }


def main() -> None:
    with grpc.insecure_channel(target()) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer: Answer = {
            "live": stub.ServerLive(ServerLiveRequest()).live,
            "ready": stub.ServerReady(ServerReadyRequest()).ready,
            "models": [
                stub.ModelReady(ModelReadyRequest(name=name, version=version)).ready for name, version in MODELS
            ],
            "name": stub.ServerMetadata(ServerMetadataRequest()).name,
        }
        tell(SERVER, answer)
        for case in cases():
            request = ModelInferRequestConverter.from_types(
                request_of(case), case["model"], case["version"], use_raw=case["form"] == "raw"
            )
            try:
                response = stub.ModelInfer(request, timeout=TIMEOUT_SECONDS)
                answer = answer_of(ModelInferResponseConverter.to_types(response))
            except grpc.RpcError as error:
                answer = failure(error.code(), error.details())
            tell(case["name"], answer)


if __name__ == "__main__":
    main()
