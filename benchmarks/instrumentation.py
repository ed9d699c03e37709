"""What a server's metrics cost: processor time of a call with all of them, against a server that counts nothing.

Processor time and not rates: other work on the machine slows every call, and takes none of its processor time. The
servers take turns, in the serving environment, on one core, with the load on another.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Figure
from benchmarks.model import release_benchmark_model
from benchmarks.serving import CHURN, SERVER_CORE, SERVING_PYTHON, Load, pinned, server_process
from services.core.worker_metrics import FOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 25
WARM_UP_CALLS = 500

SILENT = "counts nothing"
SERVERS = {
    SILENT: ["benchmarks.silent_server"],
    "as it is": ["services.core", "churn"],
    "one of several workers": ["services.core", "churn", "--place", "0"],
}
"""The module that runs each server, with its arguments."""

LOADS = (("PredictChurn", "row", 1500, 1), ("PredictChurn", "row", 1500, 8), ("BatchPredictChurn", "batch", 60, 1))
"""Method, message, calls a round, connections."""

BARS = {("as it is", "PredictChurn"): "<= 1.1", ("as it is", "BatchPredictChurn"): "<= 1.05"}


class Measured:
    """A server, and what its calls cost."""

    def __init__(self, pid: int, load: Load) -> None:
        self._threads = Path(f"/proc/{pid}/task")
        self._load = load

    def microseconds(self, method: str, body: str, calls: int, connections: int) -> float:
        """Of processor time, in the mean of so many calls."""
        before = self._nanoseconds()
        self._load.rate(f"{CHURN}/{method}", body, calls, connections)
        return (self._nanoseconds() - before) / calls / 1e3

    def _nanoseconds(self) -> int:
        """On the processor so far. No thread of a server ends before the server does."""
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in self._threads.iterdir())


def measure() -> list[Figure]:
    if shutil.which("h2load") is None:
        sys.exit("the instrumentation benchmark needs h2load, which Debian has in the package nghttp2-client")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        bundles = Path(folder) / "bundles"
        release_benchmark_model(bundles)
        servers = {name: running.enter_context(measured(name, bundles, Path(folder))) for name in SERVERS}
        return [figure for load in LOADS for figure in compare(servers, *load)]


@contextmanager
def measured(name: str, bundles: Path, folder: Path) -> Iterator[Measured]:
    command = pinned(SERVER_CORE, [str(SERVING_PYTHON), "-m", *SERVERS[name]])
    files = folder / "metrics"
    files.mkdir(exist_ok=True)
    several = {FOLDER_VARIABLE: str(files)} if "--place" in command else {}
    with server_process(command, bundles, **several) as process:
        assert process.stderr is not None
        listening = next(entry for line in process.stderr if (entry := json.loads(line))["event"] == "listening")
        yield Measured(process.pid, Load(listening["port"], folder))


def compare(servers: dict[str, Measured], method: str, body: str, calls: int, connections: int) -> Iterator[Figure]:
    times: dict[str, list[float]] = {name: [] for name in servers}
    for server in servers.values():
        server.microseconds(method, body, min(calls, WARM_UP_CALLS), connections)
    for turn in range(ROUNDS):
        # Forwards and backwards: nobody always follows the same one.
        for name in list(servers)[:: 1 if turn % 2 else -1]:
            times[name].append(servers[name].microseconds(method, body, calls, connections))
    what = f"{method}, {connections} connection{'s' if connections > 1 else ''}"
    for name, measured_times in times.items():
        median = statistics.median(measured_times)
        note = f"{min(measured_times):.4g} to {max(measured_times):.4g} over {ROUNDS} rounds"
        yield Figure(f"{what}: {name}", median, "us of processor", note=note)
        if name != SILENT:
            ratio = statistics.median(here / there for here, there in zip(measured_times, times[SILENT], strict=True))
            yield Figure(f"{what}: {name} / {SILENT}", ratio, "ratio", bar=BARS.get((name, method), ""))
