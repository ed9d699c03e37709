"""Triton, out of the wheel that carries it: its C++ front, and the graph behind its Python backend."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, ClassVar

from benchmarks.peers.peer import ROOT, SERVED, Peer, Question, Start, Wire
from benchmarks.peers.subject import OUTPUT
from benchmarks.peers.tensors import INFER, MODEL, matrix_request, read_scores

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.peers.subject import Subject
    from model_registry.columns import Columns

BULK_MODEL = "churn_bulk"

BATCHING = "dynamic_batching { }"


class Triton(Peer):
    """The wheel brings no backend but the one for Python, so the graph runs in ONNX Runtime there."""

    name = "Triton"
    settings = (
        "Python backend over the same graph in ONNX Runtime (the wheel carries no other backend), one instance, "
        "dynamic batching without delay, HTTP off, metrics on; no priority levels, since with them calls waited half a "
        "second at random"
    )
    wire: ClassVar[Wire] = "gRPC"
    environment = ROOT / ".venv-peer-triton"
    packages = ("nvidia-pytriton", "tritonclient", "onnxruntime", "numpy")
    clients = ("tensors threads", "tensors asyncio")
    batching = BATCHING
    models: ClassVar[tuple[str, ...]] = (MODEL,)

    def prepare(self, subject: Subject, folder: Path, ports: tuple[int, int, int]) -> Start:
        (site,) = self.environment.glob("lib/python3*/site-packages")
        server = site / "pytriton" / "tritonserver"
        backend = folder / "backends" / "python"
        shutil.copytree(server / "backends" / "python", backend)
        shutil.copy(server / "python_backend_stubs" / "3.11" / "triton_python_backend_stub", backend)
        for model in self.models:
            self._write_model(model, subject, folder / "models" / model)
        command = [str(server / "bin" / "tritonserver"), "--model-repository=models", "--backend-directory=backends"]
        command += [f"--grpc-port={ports[0]}", f"--metrics-port={ports[1]}", "--allow-http=false"]
        # The backend runs this system's Python and passes no PYTHONPATH on.
        return Start(command, {"LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"), "PEER_PACKAGES": str(site)})

    def question(self, subject: Subject, rows: Columns) -> Question:  # noqa: ARG002 - a matrix has no names
        return Question(INFER, matrix_request(rows).SerializeToString())

    def scores(self, answer: bytes) -> NDArray[np.float64]:
        return read_scores(answer)

    def _write_model(self, model: str, subject: Subject, folder: Path) -> None:
        version = folder / "1"
        version.mkdir(parents=True)
        shutil.copy(subject.graph, version)
        shutil.copy(SERVED / "triton_model.py", version / "model.py")
        schema = subject.schema
        inputs = [f'{{ name: "numeric" data_type: TYPE_FP32 dims: [ {len(schema.numeric)} ] }}']
        if schema.categorical:
            inputs.append(f'{{ name: "categorical" data_type: TYPE_STRING dims: [ {len(schema.categorical)} ] }}')
        configuration = [
            f'name: "{model}" backend: "python" max_batch_size: 10000',
            f"input [ {', '.join(inputs)} ]",
            f'output [ {{ name: "{OUTPUT}" data_type: TYPE_FP32 dims: [ 1 ] }} ]',
            "instance_group [ { kind: KIND_CPU count: 1 } ]",
            self.batching,
        ]
        (folder / "config.pbtxt").write_text("\n".join(configuration))


class UnbatchedTriton(Triton):
    """Each call is a run of the graph."""

    name = "Triton, no dynamic batching"
    settings = "the same without dynamic batching"
    main = False
    batching = ""


class TwofoldTriton(Triton):
    """Interactive calls never queue behind a bulk: the system shares the core between two processes of the graph."""

    name = "Triton, a copy for bulks"
    settings = "the same with the graph twice, as a model for interactive calls and one for bulks"
    main = False
    takes_bulks = True
    models = (MODEL, BULK_MODEL)

    def bulk(self, subject: Subject, rows: Columns) -> Question:  # noqa: ARG002 - a matrix has no names
        return Question(INFER, matrix_request(rows, BULK_MODEL).SerializeToString())
