"""The graph as a service of BentoML."""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import bentoml
import numpy as np
import onnxruntime as ort

BATCH_ROWS = 10_000


# No call is refused: how long one waits is what is measured.
@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Churn:
    """One session with one thread."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["PEER_GRAPH"], options, providers=["CPUExecutionProvider"])

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(
        self, numeric: list[list[float]], categorical: list[list[str]] | None = None
    ) -> list[list[float]]:
        arrays = {"numeric": np.asarray(numeric, np.float32)}
        if categorical:
            arrays["categorical"] = np.asarray(categorical, object)
        (scores,) = self._session.run(None, arrays)
        return scores.tolist()  # type: ignore[no-any-return]

    @bentoml.api(batchable=True, max_batch_size=BATCH_ROWS, max_latency_ms=10_000)  # type: ignore[untyped-decorator]
    async def predict_together(self, numeric: np.ndarray) -> np.ndarray:
        (scores,) = self._session.run(None, {"numeric": numeric.astype(np.float32)})
        return scores  # type: ignore[no-any-return]
