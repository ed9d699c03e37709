"""KServe's SDK over gRPC."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
from kserve import InferenceGRPCClient, InferInput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput

from tests.conformance.clients.script import (
    MODELS,
    SERVER,
    Answer,
    Case,
    array_of,
    cases,
    failure,
    output,
    target,
    tell,
)


def input_of(tensor: dict[str, Any]) -> InferInput:
    array = array_of(tensor)
    made = InferInput(tensor["name"], list(array.shape), tensor["datatype"])
    if tensor["form"] == "raw":
        made.set_data_from_numpy(array)
    else:
        made.data = tensor["values"]
    made.shape = tensor["shape"]
    return made


def request_of(case: Case) -> InferRequest:
    return InferRequest(
        model_name=case["model"],
        model_version=case["version"],
        request_id=case["id"],
        infer_inputs=[input_of(tensor) for tensor in case["inputs"]],
        request_outputs=[RequestedOutput(name) for name in case["outputs"]] or None,
    )


def answer_of(response: InferResponse) -> Answer:
    return {
        "model": response.model_name,
        "version": response.model_version,
        "id": response.id,
        "outputs": {
            tensor.name: output(tensor.datatype, tensor.shape, tensor.as_numpy().tolist())
            for tensor in response.outputs
        },
    }


async def main() -> None:
    # It logs each failed call, which the cases expect.
    logging.disable()
    async with InferenceGRPCClient(target()) as client:
        answer: Answer = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            # It asks by name alone.
            "models": [await client.is_model_ready(name) for name, version in MODELS if not version],
        }
        tell(SERVER, answer)
        for case in cases():
            try:
                answer = answer_of(await client.infer(request_of(case)))
            except grpc.aio.AioRpcError as error:
                answer = failure(error.code(), error.details())
            tell(case["name"], answer)


if __name__ == "__main__":
    asyncio.run(main())
