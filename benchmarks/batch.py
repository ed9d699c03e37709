"""Scoring a base of millions: against the bare runtime on arrays in memory, through a server, and what it holds.

All cores work in every figure. A run is the command as its user starts it, its start, the look through the input and
the files that it writes included; the floor is ONNX Runtime in a process for each core, over rows that lie in memory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxmltools
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from onnxmltools.convert.common.data_types import FloatTensorType

from benchmarks.harness import Figure
from benchmarks.model import SCHEMA, customers, graph_in, release_benchmark_model, train_booster
from benchmarks.serving import ROOT, SERVING_PYTHON, environment, spread
from services.batch.scorers import BUNDLE_ROWS
from tests.support.server import SUPERVISOR, running

CORES = len(os.sched_getaffinity(0))
REGULARS = Path(sys.executable).with_name("regulars")
SPARK_PYTHON = ROOT / ".venv-spark" / "bin" / "python"

FILE_ROWS = 1_000_000
FILES, COMPARED, STREAMED, SPARKED = 10, 5, 1, 2
"""Files of the largest base, and of those that are compared with the floor, go through a server, and on Spark."""

ROUNDS = 2
FLOOR_ROWS = 2_000_000

LOOK_SECONDS = 0.1


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = folder / "bundles"
        release_benchmark_model(bundles)
        files = [write_customers(folder / f"{number}.parquet", seed=number) for number in range(FILES)]
        return [
            *against_the_floor(bundles, files, folder),
            *memory(bundles, files, folder),
            *streamed(bundles, files, folder),
            *on_spark(bundles, files, folder),
        ]


def write_customers(path: Path, seed: int) -> Path:
    columns = customers(FILE_ROWS, seed).numeric
    first = seed * FILE_ROWS
    ids = pa.array(np.arange(first, first + FILE_ROWS)).cast(pa.string())
    names = [feature.name for feature in SCHEMA.features]
    pq.write_table(pa.table([ids, *columns.T], ["customer_id", *names]), path)
    return path


def against_the_floor(bundles: Path, files: list[Path], folder: Path) -> list[Figure]:
    rows = COMPARED * FILE_ROWS
    graph, exported = graph_in(bundles), export_plainly(folder / "exported.onnx")
    floors, plain, rates = [], [], []
    for _ in range(ROUNDS):
        floors.append(floor(graph))
        plain.append(floor(exported))
        rates.append(rows / seconds_of(score(bundles, files[:COMPARED], folder / "scores")))
    rate = statistics.median(rates)
    return [
        Figure("bare session.run, all cores", statistics.median(floors), "rows/s", note=spread(floors)),
        Figure(
            "the same of the graph that the converter exports", statistics.median(plain), "rows/s", note=spread(plain)
        ),
        Figure(f"{rows:,} customers, Parquet to Parquet", rate, "rows/s", note=spread(rates)),
        Figure("Parquet to Parquet / bare session.run", ratio(rates, floors), "ratio", bar=">= 0.85"),
        Figure("Parquet to Parquet / that of the exported graph", ratio(rates, plain), "ratio", bar=">= 0.85"),
        Figure("a million scores", CORES * 1e6 / rate, "core-seconds", note="300 trees x 31 leaves x 24 features"),
    ]


def memory(bundles: Path, files: list[Path], folder: Path) -> list[Figure]:
    peaks = {}
    for count in (1, len(files)):
        with subprocess.Popen(score(bundles, files[:count], folder / f"{count}"), stdout=subprocess.DEVNULL) as process:
            peaks[count] = peak_mb(process)
        assert process.returncode == 0
    small, large = peaks.values()
    return [
        Figure(f"peak memory, {FILE_ROWS:,} customers", small, "MB", note="all processes; shared pages once"),
        Figure(f"peak memory, {len(files) * FILE_ROWS:,} customers", large, "MB", bar="<= 1500"),
        Figure("growth over ten times the customers", large / small, "x", bar="<= 1.1"),
    ]


def streamed(bundles: Path, files: list[Path], folder: Path) -> list[Figure]:
    rows = STREAMED * FILE_ROWS
    here, there = [], []
    with running(bundles, command=SUPERVISOR, python=str(SERVING_PYTHON), workers=CORES) as server:
        for number in range(ROUNDS):
            here.append(rows / seconds_of(score(bundles, files[:STREAMED], folder / f"here{number}")))
            through = score(None, files[:STREAMED], folder / f"there{number}", f"--target=127.0.0.1:{server.port}")
            there.append(rows / seconds_of(through))
    return [
        Figure(f"{rows:,} customers through a server", statistics.median(there), "rows/s", note=spread(there)),
        Figure(
            "through a server / in processes of its own",
            ratio(there, here),
            "ratio",
            bar=">= 0.6",
            note="on the same cores",
        ),
    ]


def on_spark(bundles: Path, files: list[Path], folder: Path) -> list[Figure]:
    """A session of this machine, its start included; nothing where `./dev test-spark` has not installed it."""
    if not SPARK_PYTHON.exists():
        return []
    rows = SPARKED * FILE_ROWS
    here, there = [], []
    for number in range(ROUNDS):
        here.append(rows / seconds_of(score(bundles, files[:SPARKED], folder / f"local{number}")))
        command = score(bundles, files[:SPARKED], folder / f"spark{number}", "--engine=spark")
        there.append(rows / seconds_of([str(SPARK_PYTHON), "-m", "cli.main", *command[1:]]))
    return [
        Figure(f"{rows:,} customers on Spark", statistics.median(there), "rows/s", note=spread(there)),
        Figure("on Spark / in processes of its own", ratio(there, here), "ratio", note="local[*], its start included"),
    ]


def score(bundles: Path | None, files: list[Path], output: Path, *options: str) -> list[str]:
    shutil.rmtree(output, ignore_errors=True)
    where = [f"--bundles={bundles}"] if bundles else []
    return [str(REGULARS), "score", "churn", "--input", *map(str, files), "--output", str(output), *where, *options]


def seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    quiet = subprocess.DEVNULL
    subprocess.run(command, check=True, stdout=quiet, stderr=quiet, cwd=ROOT, env=environment())
    return time.perf_counter() - started


def ratio(rates: list[float], floors: list[float]) -> float:
    return statistics.median(rate / bare for rate, bare in zip(rates, floors, strict=True))


def floor(graph: Path) -> float:
    """Rows a second of a process for each core, all at once, in runs as long as those of a job."""
    rows = FLOOR_ROWS // CORES
    shape = (BUNDLE_ROWS, rows // BUNDLE_ROWS, rows)
    command = [sys.executable, "-m", "benchmarks.bare_run", str(graph), *map(str, shape)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(CORES)]
    return sum(BUNDLE_ROWS * float(process.communicate()[0]) for process in processes)


def export_plainly(path: Path) -> Path:
    """The benchmark's trees as one who has no suite would export them: a single node, with the label beside it."""
    exported = onnxmltools.convert_lightgbm(
        train_booster(), initial_types=[("numeric", FloatTensorType([None, len(SCHEMA.features)]))], zipmap=False
    )
    path.write_bytes(exported.SerializeToString())
    return path


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    """The most that a process and its children held at once, looked at ten times a second."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_held, [process.pid, *_children(process.pid)])))
        time.sleep(LOOK_SECONDS)
    return peak / 2**20


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0
