"""The server against its floors: an empty handler, a bare run of the graph. And how it starts, and what it holds.

The server runs in the serving environment, pinned to one core; the load comes from h2load on another. The rounds of
a figure and of its floor take turns, so that a machine whose speed drifts changes both.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.floor_server import FLOOR_METHOD
from benchmarks.harness import Figure
from benchmarks.model import SCHEMA, customers, graph_in, release_benchmark_model
from model_registry.servable import Servable
from regulars.churn.v1 import churn_pb2
from regulars.open_inference.v2 import open_inference_pb2
from services.client import ChurnClient, customer, customer_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from model_registry.bundle import Bundle
    from model_registry.columns import Columns

ROOT = Path(__file__).parent.parent
SERVING_PYTHON = ROOT / ".venv-serving" / "bin" / "python"
SERVER_CORE, LOAD_CORE = 0, 1
ROUNDS = 7
BATCH_ROWS = 1000
STARTS = 5

CHURN = "/regulars.churn.v1.ChurnService"
INFER = "/inference.GRPCInferenceService/ModelInfer"
NAMES = [feature.name for feature in SCHEMA.features]


def measure() -> list[Figure]:
    if shutil.which("h2load") is None:
        sys.exit("the serving benchmarks need h2load, which Debian has in the package nghttp2-client")
    with tempfile.TemporaryDirectory() as folder:
        bundles = Path(folder) / "bundles"
        bundle = release_benchmark_model(bundles)
        with floor_server(bundles) as port:
            check_answers(f"127.0.0.1:{port}", bundle)
            load = Load(port, Path(folder))
            figures = [*unary(load, connections=1), *unary(load, connections=8), *batch(load, bundles), *tensors(load)]
        return [*figures, *start_up(bundles)]


class Load:
    """h2load against one server."""

    def __init__(self, port: int, folder: Path) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._folder = folder
        rows = customers(BATCH_ROWS, seed=5)
        one = customer("customer", dict(zip(NAMES, rows.numeric[0].tolist(), strict=True)))
        many = customer_table(
            [f"customer-{row}" for row in range(BATCH_ROWS)], dict(zip(NAMES, rows.numeric.T, strict=True)), {}
        )
        self._write("empty", b"")
        self._write("row", churn_pb2.PredictChurnRequest(customer=one))
        self._write("batch", churn_pb2.BatchPredictChurnRequest(customers=many))
        self._write("row of tensors", tensor_request(rows.slice(0, 1)))
        self._write("batch of tensors", tensor_request(rows))

    def rate(self, method: str, body: str, requests: int, connections: int) -> float:
        """Requests per second, one in flight on each connection."""
        command = ["h2load", "-n", str(requests), "-c", str(connections), "-m", "1", "-d", str(self._folder / body)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", self._url + method]
        report = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, check=True).stdout
        failed = re.search(r"(\d+) failed, (\d+) errored", report)
        assert failed is not None
        assert failed.groups() == ("0", "0"), report
        found = re.search(r"([\d.]+) req/s", report)
        assert found is not None
        return float(found[1])

    def _write(self, name: str, message: Message | bytes) -> None:
        body = message if isinstance(message, bytes) else message.SerializeToString()
        # gRPC's frame: not compressed, then the length.
        (self._folder / name).write_bytes(b"\0" + struct.pack(">I", len(body)) + body)


def unary(load: Load, connections: int) -> list[Figure]:
    requests = 4000
    load.rate(f"{CHURN}/PredictChurn", "row", requests, connections)
    floors, rates = [], []
    for _ in range(ROUNDS):
        floors.append(load.rate(FLOOR_METHOD, "empty", requests, connections))
        rates.append(load.rate(f"{CHURN}/PredictChurn", "row", requests, connections))
    ratio = statistics.median(rate / floor for rate, floor in zip(rates, floors, strict=True))
    where = f"{connections} connection{'s' if connections > 1 else ''}"
    return [
        Figure(f"empty handler, {where}", statistics.median(floors), "requests/s", note=spread(floors)),
        Figure(f"PredictChurn, {where}", statistics.median(rates), "requests/s", note=spread(rates)),
        Figure(f"PredictChurn / empty handler, {where}", ratio, "ratio", bar=">= 0.6" if connections == 1 else ""),
    ]


def batch(load: Load, bundles: Path) -> list[Figure]:
    requests = 150
    load.rate(f"{CHURN}/BatchPredictChurn", "batch", 20, 1)
    bare, served = [], []
    for _ in range(ROUNDS):
        bare.append(bare_run(bundles, requests))
        served.append(load.rate(f"{CHURN}/BatchPredictChurn", "batch", requests, 1))
    ratio = statistics.median(rate / floor for rate, floor in zip(served, bare, strict=True))
    return [
        Figure(f"bare session.run, {BATCH_ROWS:,} rows", statistics.median(bare), "runs/s", note=spread(bare)),
        Figure(f"BatchPredictChurn, {BATCH_ROWS:,} rows", statistics.median(served), "requests/s", note=spread(served)),
        Figure("BatchPredictChurn / bare session.run", ratio, "ratio", bar=">= 0.85"),
    ]


def tensors(load: Load) -> list[Figure]:
    """The Open Inference Protocol against the model's own service, for the same customers."""
    figures = []
    for method, body, requests, bar in (
        ("PredictChurn", "row", 4000, ">= 0.8"),
        ("BatchPredictChurn", "batch", 150, ">= 0.95"),
    ):
        own, foreign = [], []
        for _ in range(ROUNDS):
            own.append(load.rate(f"{CHURN}/{method}", body, requests, 1))
            foreign.append(load.rate(INFER, f"{body} of tensors", requests, 1))
        ratio = statistics.median(rate / floor for rate, floor in zip(foreign, own, strict=True))
        figures += [
            Figure(f"ModelInfer, {body}", statistics.median(foreign), "requests/s", note=spread(foreign)),
            Figure(f"ModelInfer / {method}", ratio, "ratio", bar=bar),
        ]
    return figures


def tensor_request(rows: Columns) -> open_inference_pb2.ModelInferRequest:
    """Every feature as raw bytes, as Triton's client sends them."""
    request = open_inference_pb2.ModelInferRequest(model_name="churn")
    for name, values in zip(NAMES, rows.numeric.T, strict=True):
        request.inputs.add(name=name, datatype="FP32", shape=[len(rows)])
        request.raw_input_contents.append(values.tobytes())
    return request


def bare_run(bundles: Path, runs: int) -> float:
    """Runs a second of the bare graph over the batch's rows, on the server's core, in the server's environment."""
    command = [str(SERVING_PYTHON), "-m", "benchmarks.bare_run", str(graph_in(bundles)), str(BATCH_ROWS), str(runs)]
    output = subprocess.run(
        pinned(SERVER_CORE, command), capture_output=True, text=True, check=True, env=environment(), cwd=ROOT
    )
    return float(output.stdout)


def start_up(bundles: Path) -> list[Figure]:
    """From the start of the process to SERVING, and its memory after a batch."""
    seconds, memory = [], []
    for _ in range(STARTS):
        started = time.perf_counter()
        with server_process([str(SERVING_PYTHON), "-m", "services.core", "churn"], bundles) as process:
            assert process.stderr is not None
            listening = next(entry for line in process.stderr if (entry := json.loads(line))["event"] == "listening")
            with ChurnClient(f"127.0.0.1:{listening['port']}") as client:
                client.get_model()
                seconds.append(time.perf_counter() - started)
                rows = customers(BATCH_ROWS, seed=5)
                ids = [str(row) for row in range(BATCH_ROWS)]
                client.batch_predict(customer_table(ids, dict(zip(NAMES, rows.numeric.T, strict=True)), {}))
                memory.append(psutil.Process(process.pid).memory_info().rss / 1e6)
    return [
        Figure("server start to first answer", statistics.median(seconds), "s", bar="<= 3", note=spread(seconds)),
        Figure("server memory after a batch", statistics.median(memory), "MB", bar="<= 200", note=spread(memory)),
    ]


def check_answers(target: str, bundle: Bundle) -> None:
    """h2load does not read what it gets; here a client compares it with the bundle's own scores."""
    rows = customers(BATCH_ROWS, seed=5)
    expected = Servable(bundle).score(rows).values["churn_probability"]
    with ChurnClient(target) as client:
        ids = [str(row) for row in range(BATCH_ROWS)]
        table = customer_table(ids, dict(zip(NAMES, rows.numeric.T, strict=True)), {})
        served = client.columns(client.batch_predict(table).predictions)["churn_probability"]
        assert served.tobytes() == expected.tobytes()
        one = client.predict("0", dict(zip(NAMES, rows.numeric[0].tolist(), strict=True)))
        assert one.prediction.churn_probability == expected[0].item()


@contextmanager
def floor_server(bundles: Path) -> Iterator[int]:
    command = pinned(SERVER_CORE, [str(SERVING_PYTHON), "-m", "benchmarks.floor_server"])
    with server_process(command, bundles) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


@contextmanager
def server_process(command: list[str], bundles: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        env={**environment(), "REGULARS_BUNDLES": str(bundles), **variables},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def environment() -> dict[str, str]:
    """The serving environment holds the locked packages alone; the code comes from the checkout."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


def spread(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g} over {len(values)} rounds"
