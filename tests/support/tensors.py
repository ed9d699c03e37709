"""Requests of the Open Inference Protocol in tests, and what their answers hold."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from regulars.open_inference.v2 import open_inference_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_registry.columns import Columns
    from regulars.open_inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse

Values = np.ndarray[Any, Any] | list[str]

FIELDS = {
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "BYTES": "bytes_contents",
}


def raw_of(values: Values) -> bytes:
    """As they lie among raw contents."""
    if isinstance(values, np.ndarray):
        return values.tobytes()
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


def datatype_of(values: Values) -> str:
    if not isinstance(values, np.ndarray):
        return "BYTES"
    kind = {"f": "FP", "i": "INT", "u": "UINT"}[values.dtype.kind]
    return f"{kind}{8 * values.dtype.itemsize}"


def infer(inputs: dict[str, Values], *, raw: bool, outputs: Sequence[str] = (), **fields: str) -> ModelInferRequest:
    """A request for the churn model, unless the fields say otherwise."""
    request = open_inference_pb2.ModelInferRequest(**{"model_name": "churn", **fields})  # type: ignore[arg-type]  # texts
    for name, values in inputs.items():
        datatype = datatype_of(values)
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[len(values)])
        if raw:
            request.raw_input_contents.append(raw_of(values))
        elif isinstance(values, np.ndarray):
            getattr(tensor.contents, FIELDS[datatype]).extend(values.tolist())
        else:
            tensor.contents.bytes_contents.extend(value.encode() for value in values)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def inputs_of(columns: Columns) -> dict[str, Values]:
    """The test bundles' features."""
    return {
        "recency_days": columns.numeric[:, 0].copy(),
        "frequency": columns.numeric[:, 1].copy(),
        "channel": columns.categorical[:, 0].tolist(),
    }


def answers_of(response: ModelInferResponse) -> dict[str, Values]:
    """The outputs by name, raw or typed."""
    raw = list(response.raw_output_contents)
    assert len(raw) in {0, len(response.outputs)}
    answers: dict[str, Values] = {}
    for at, output in enumerate(response.outputs):
        assert raw == [] or not output.HasField("contents")
        if output.datatype == "BYTES":
            texts = _split(raw[at]) if raw else list(output.contents.bytes_contents)
            answers[output.name] = [text.decode() for text in texts]
        else:
            assert output.datatype == "FP32"
            typed = np.array(output.contents.fp32_contents, np.float32)
            answers[output.name] = np.frombuffer(raw[at], "<f4") if raw else typed
        assert list(output.shape) == [len(answers[output.name])]
    return answers


def _split(raw: bytes) -> list[bytes]:
    texts = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        texts.append(raw[4 : 4 + length])
        assert len(texts[-1]) == length
        raw = raw[4 + length :]
    return texts
