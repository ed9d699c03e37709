"""The graph behind Triton's Python backend: rows of all waiting calls go through it at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# The backend runs the system's Python.
sys.path.insert(0, os.environ["PEER_PACKAGES"])
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    """What the backend looks for by this name."""

    def initialize(self, arguments: dict[str, str]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        graph = Path(arguments["model_repository"]) / arguments["model_version"] / "model.onnx"
        self._session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name

    def execute(self, requests: list[Any]) -> list[Any]:
        given = [[_array(request, name) for name in self._inputs] for request in requests]
        if len(given) == 1:
            return [self._answer(self._run(given[0]))]
        scores = self._run([np.concatenate(parts) for parts in zip(*given, strict=True)])
        ends = np.cumsum([len(arrays[0]) for arrays in given])[:-1]
        return [self._answer(part) for part in np.split(scores, ends)]

    def _run(self, arrays: list[Any]) -> Any:
        (scores,) = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        return scores

    def _answer(self, scores: Any) -> Any:
        return triton.InferenceResponse([triton.Tensor(self._output, scores)])


def _array(request: Any, name: str) -> Any:
    array = triton.get_input_tensor_by_name(request, name).as_numpy()
    # Texts come as bytes.
    return array.astype(str).astype(object) if array.dtype.hasobject else array
