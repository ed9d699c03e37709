"""Messages of the Open Inference Protocol, which three of the systems speak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers.subject import OUTPUT
from regulars.open_inference.v2 import open_inference_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from model_registry.columns import Columns
    from model_registry.schema import Schema

MODEL = "churn"
INFER = "/inference.GRPCInferenceService/ModelInfer"


def matrix_request(rows: Columns, model: str = MODEL) -> open_inference_pb2.ModelInferRequest:
    """The graph's inputs as they are."""
    request = open_inference_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="numeric", datatype="FP32", shape=rows.numeric.shape)
    request.raw_input_contents.append(np.ascontiguousarray(rows.numeric).tobytes())
    if rows.categorical.shape[1]:
        request.inputs.add(name="categorical", datatype="BYTES", shape=rows.categorical.shape)
        request.raw_input_contents.append(raw_texts(rows.categorical.ravel()))
    request.outputs.add(name=OUTPUT)
    return request


def features_request(schema: Schema, rows: Columns) -> open_inference_pb2.ModelInferRequest:
    """A tensor a feature, by name, as a Regulars server wants them."""
    request = open_inference_pb2.ModelInferRequest(model_name=MODEL)
    for feature, values in zip(schema.numeric, rows.numeric.T, strict=True):
        request.inputs.add(name=feature.name, datatype="FP32", shape=[len(rows)])
        request.raw_input_contents.append(values.tobytes())
    for feature, texts in zip(schema.categorical, rows.categorical.T, strict=True):
        request.inputs.add(name=feature.name, datatype="BYTES", shape=[len(rows)])
        request.raw_input_contents.append(raw_texts(texts))
    request.outputs.add(name=OUTPUT)
    return request


def raw_texts(texts: Iterable[str]) -> bytes:
    """Each text behind its length."""
    encoded = [text.encode() for text in texts]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def read_scores(answer: bytes) -> NDArray[np.float64]:
    """The one output, raw or typed, of any width."""
    response = open_inference_pb2.ModelInferResponse.FromString(answer)
    (output,) = response.outputs
    if response.raw_output_contents:
        kind = {"FP32": np.float32, "FP64": np.float64}[output.datatype]
        return np.frombuffer(response.raw_output_contents[0], kind).astype(np.float64)
    return np.asarray(output.contents.fp32_contents or output.contents.fp64_contents, np.float64)
