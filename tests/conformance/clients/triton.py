"""Triton's client over gRPC."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

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


def inputs_of(case: Case) -> list[Any]:
    inputs = []
    for tensor in case["inputs"]:
        array = array_of(tensor)
        made = InferInput(tensor["name"], list(array.shape), tensor["datatype"])
        inputs.append(made.set_data_from_numpy(array).set_shape(tensor["shape"]))
    return inputs


def arguments_of(case: Case) -> dict[str, Any]:
    return {
        "model_name": case["model"],
        "model_version": case["version"],
        "inputs": inputs_of(case),
        "outputs": [InferRequestedOutput(name) for name in case["outputs"]] or None,
        "request_id": case["id"],
    }


def answer_of(result: InferResult) -> Answer:
    response = result.get_response()
    return {
        "model": response.model_name,
        "version": response.model_version,
        "id": response.id,
        "outputs": {
            tensor.name: output(tensor.datatype, tensor.shape, result.as_numpy(tensor.name).tolist())
            for tensor in response.outputs
        },
    }


def main() -> None:
    client = InferenceServerClient(target())
    metadata = client.get_model_metadata("churn", as_json=True)
    answer: Answer = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "models": [client.is_model_ready(name, version) for name, version in MODELS],
        "name": client.get_server_metadata(as_json=True)["name"],
        "inputs": {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]},
    }
    tell(SERVER, answer)
    for case in cases():
        try:
            answer = answer_of(client.infer(**arguments_of(case)))
        except InferenceServerException as error:
            answer = failure(error.status(), error.message())
        tell(case["name"], answer)


if __name__ == "__main__":
    main()
