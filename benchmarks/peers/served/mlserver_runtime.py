"""The graph as a runtime of MLServer."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput


class OnnxModel(MLModel):  # type: ignore[misc]  # MLServer is in another environment
    """One session with one thread."""

    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        graph = self.settings.parameters.uri
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._output = self._session.get_outputs()[0].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (scores,) = self._session.run(None, {given.name: _array(given) for given in payload.inputs})
        output = NumpyCodec.encode_output(self._output, scores)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])


def _array(given: RequestInput) -> Any:
    if given.datatype == "BYTES":
        return np.array(StringCodec.decode_input(given), object).reshape(given.shape)
    return NumpyCodec.decode_input(given)
