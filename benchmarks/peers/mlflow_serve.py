"""`mlflow models serve`, over the same graph in its flavour for ONNX."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmarks.peers.peer import ROOT, SERVED, Peer, Question, Start, Wire, as_json, compact
from benchmarks.peers.subject import OUTPUT

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.peers.subject import Subject
    from model_registry.columns import Columns


class Mlflow(Peer):
    """One worker of uvicorn, with the fast loop and parser that it takes where they are installed."""

    name = "MLflow"
    settings = "ONNX flavour, one thread, one worker, `inputs` as tensors, uvloop and httptools beside it"
    wire: ClassVar[Wire] = "JSON"
    environment = ROOT / ".venv-peer-mlflow"
    packages = ("mlflow", "fastapi", "uvicorn", "onnxruntime", "pandas", "numpy")
    clients = ("http threads", "http asyncio")

    def prepare(self, subject: Subject, folder: Path, ports: tuple[int, int, int]) -> Start:
        saved = folder / "model"
        command = [self.program("python"), str(SERVED / "mlflow_save.py"), str(subject.graph), str(saved)]
        subprocess.run(command, check=True, capture_output=True)
        # It looks for uvicorn on the path.
        variables = {"PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
        serve = ["models", "serve", "--model-uri", str(saved), "--env-manager", "local", "--workers", "1"]
        return Start([self.program("mlflow"), *serve, "--port", str(ports[0])], variables)

    def question(self, subject: Subject, rows: Columns) -> Question:  # noqa: ARG002 - tensors are named by the graph
        return Question("/invocations", compact({"inputs": as_json(rows)}))

    def scores(self, answer: bytes) -> NDArray[np.float64]:
        return np.asarray(json.loads(answer)["predictions"][OUTPUT], np.float64).ravel()
