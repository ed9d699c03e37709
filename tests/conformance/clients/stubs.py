"""Bare stubs, out of the modules that the command names: whatever the message can hold, a case can ask for."""

from __future__ import annotations

import importlib
import struct
import sys
from typing import Any

import grpc
import numpy as np

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

FIELDS = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def request_of(case: Case, messages: Any) -> Any:
    request = messages.ModelInferRequest(model_name=case["model"], model_version=case["version"], id=case["id"])
    for tensor in case["inputs"]:
        made = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        array = array_of(tensor)
        if tensor["form"] == "raw":
            request.raw_input_contents.append(raw_of(array))
        else:
            getattr(made.contents, FIELDS[tensor["datatype"]]).extend(array.ravel().tolist())
    for name in case["outputs"]:
        request.outputs.add(name=name)
    return request


def raw_of(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype != np.object_:
        return array.tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in array.ravel().tolist())


def answer_of(response: Any) -> Answer:
    raw = list(response.raw_output_contents)
    return {
        "model": response.model_name,
        "version": response.model_version,
        "id": response.id,
        "form": "raw" if raw else "typed",
        "outputs": {
            tensor.name: output(
                tensor.datatype,
                tensor.shape,
                values_of(tensor.datatype, raw[at]) if raw else getattr(tensor.contents, FIELDS[tensor.datatype]),
            )
            for at, tensor in enumerate(response.outputs)
        },
    }


def values_of(datatype: str, raw: bytes) -> list[Any]:
    if datatype == "FP32":
        return list(np.frombuffer(raw, "<f4").tolist())
    texts = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        texts.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    return texts


def main() -> None:
    messages, services = (importlib.import_module(name) for name in sys.argv[2:])
    with grpc.insecure_channel(target()) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        models = [messages.ModelReadyRequest(name=name, version=version) for name, version in MODELS]
        metadata = stub.ModelMetadata(messages.ModelMetadataRequest(name="churn"), timeout=TIMEOUT_SECONDS)
        answer: Answer = {
            "live": stub.ServerLive(messages.ServerLiveRequest(), timeout=TIMEOUT_SECONDS).live,
            "ready": stub.ServerReady(messages.ServerReadyRequest(), timeout=TIMEOUT_SECONDS).ready,
            "models": [stub.ModelReady(model, timeout=TIMEOUT_SECONDS).ready for model in models],
            "name": stub.ServerMetadata(messages.ServerMetadataRequest(), timeout=TIMEOUT_SECONDS).name,
            "inputs": {tensor.name: tensor.datatype for tensor in metadata.inputs},
        }
        tell(SERVER, answer)
        for case in cases():
            try:
                answer = answer_of(stub.ModelInfer(request_of(case, messages), timeout=TIMEOUT_SECONDS))
            except grpc.RpcError as error:
                answer = failure(error.code(), error.details())
            tell(case["name"], answer)


if __name__ == "__main__":
    main()
