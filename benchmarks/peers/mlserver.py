"""MLServer, over the same graph and over LightGBM as its own runtime serves it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, ClassVar

from benchmarks.peers.peer import ROOT, SERVED, Peer, Question, Start, Wire
from benchmarks.peers.tensors import INFER, MODEL, matrix_request, read_scores

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers.subject import Subject
    from model_registry.columns import Columns


class MLServer(Peer):
    """Without workers beside the server, which on one core only cost."""

    name = "MLServer"
    settings = (
        "a runtime of a few lines over the same graph in ONNX Runtime, `parallel_workers: 0`, no access log, uvloop"
    )
    wire: ClassVar[Wire] = "gRPC"
    environment = ROOT / ".venv-peer-mlserver"
    packages = ("mlserver", "mlserver-lightgbm", "grpcio", "onnxruntime", "lightgbm", "numpy")
    clients = ("tensors threads", "tensors asyncio")
    implementation = "runtime.OnnxModel"
    batching: ClassVar[dict[str, float]] = {}

    def prepare(self, subject: Subject, folder: Path, ports: tuple[int, int, int]) -> Start:
        model = folder / MODEL
        model.mkdir()
        shutil.copy(SERVED / "mlserver_runtime.py", model / "runtime.py")
        described = {
            "name": MODEL,
            "implementation": self.implementation,
            "parameters": {"uri": str(self.file(subject))},
            **self.batching,
        }
        (model / "model-settings.json").write_text(json.dumps(described))
        grpc_port, http_port, metrics_port = ports
        server: dict[str, str | int] = {"grpc_port": grpc_port, "http_port": http_port, "metrics_port": metrics_port}
        server |= {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        (folder / "settings.json").write_text(json.dumps(server))
        return Start([self.program("mlserver"), "start", "."])

    def file(self, subject: Subject) -> Path:
        """What the runtime loads."""
        return subject.graph

    def question(self, subject: Subject, rows: Columns) -> Question:  # noqa: ARG002 - a matrix has no names
        return Question(INFER, matrix_request(rows).SerializeToString())

    def scores(self, answer: bytes) -> NDArray[np.float64]:
        return read_scores(answer)


class BatchingMLServer(MLServer):
    """Callers' rows are gathered for a moment and scored together."""

    name = "MLServer, adaptive batching"
    settings = "the same with `max_batch_size: 32`, `max_batch_time: 0.001`"
    main = False
    batching: ClassVar[dict[str, float]] = {"max_batch_size": 32, "max_batch_time": 0.001}


class LightgbmMLServer(MLServer):
    """Its own runtime for LightGBM, which predicts in doubles."""

    name = "MLServer, LightGBM"
    settings = "its own runtime for LightGBM over the same trees"
    main = False
    implementation = "mlserver_lightgbm.LightGBMModel"

    def file(self, subject: Subject) -> Path:
        assert subject.booster is not None, "only bare trees can be served as LightGBM"
        return subject.booster

    def question(self, subject: Subject, rows: Columns) -> Question:  # noqa: ARG002 - a matrix has no names
        request = matrix_request(rows)
        # It names its output itself.
        del request.outputs[:]
        return Question(INFER, request.SerializeToString())
