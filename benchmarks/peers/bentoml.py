"""BentoML, over the same graph in a service of a few lines."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmarks.peers.peer import ROOT, SERVED, Peer, Question, Start, Wire, as_json, compact

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.peers.subject import Subject
    from model_registry.columns import Columns


class BentoML(Peer):
    """One worker, its endpoint a coroutine, which spares the hand-over to a thread."""

    name = "BentoML"
    settings = "an async endpoint over ONNX Runtime, one worker, no access log, uvloop and httptools beside it"
    wire: ClassVar[Wire] = "JSON"
    environment = ROOT / ".venv-peer-bentoml"
    packages = ("bentoml", "starlette", "uvicorn", "onnxruntime", "numpy")
    clients = ("bentoml threads", "bentoml asyncio")
    endpoint = "predict"

    def prepare(self, subject: Subject, folder: Path, ports: tuple[int, int, int]) -> Start:
        # It imports a service by the name of its file.
        shutil.copy(SERVED / "bentoml_service.py", folder / "service.py")
        variables = {
            "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}",
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(folder / "home"),
            "PEER_GRAPH": str(subject.graph),
        }
        return Start([self.program("bentoml"), "serve", "service:Churn", "--port", str(ports[0])], variables)

    def question(self, subject: Subject, rows: Columns) -> Question:  # noqa: ARG002 - arrays are named by the graph
        return Question(f"/{self.endpoint}", compact(as_json(rows)))

    def scores(self, answer: bytes) -> NDArray[np.float64]:
        return np.asarray(json.loads(answer), np.float64).ravel()


class BatchingBentoML(BentoML):
    """Callers' rows are gathered and scored together. It takes one argument, so no texts beside numbers."""

    name = "BentoML, adaptive batching"
    settings = "the same, `batchable=True`"
    main = False
    endpoint = "predict_together"
