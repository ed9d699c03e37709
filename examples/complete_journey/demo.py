"""The whole path on real shoppers: features, training, promotion, serving, scoring, and a promotion under load.

    ./dev demo [--keep]

Runs the `regulars` command as a user would, in a folder `.demo` that it makes anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow.parquet as pq

from cli.console import out, table
from features.project import load_project
from model_registry.mlflow_registry import MlflowRegistry
from services.client import CallError, ChurnClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_registry.registry import RegisteredVersion
    from regulars.churn.v1.churn_pb2 import PredictChurnResponse

HERE = Path(__file__).parent
DEMO = Path(".demo")
PROJECT = DEMO / "regulars.toml"
BUNDLES = DEMO / "bundles"
CUSTOMERS = DEMO / "customers.parquet"
SCORES = DEMO / "scores"

FIRST_DATE, LATER_DATE = "2017-12-01", "2017-12-31"
"""Where the first training stands, and the second: 30 days, one horizon, later."""

CALLERS = 4
SWAP_SECONDS = 60.0
"""How long the demo waits for a promotion to be served. It takes seconds; more is a failure."""

REGULARS = [sys.executable, "-m", "cli.main"]


@dataclass
class Load:
    """Callers that score one household after another until they are stopped. `served` counts answers by version."""

    target: str
    households: list[tuple[str, dict[str, float | str | None]]]
    served: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._threads = [threading.Thread(target=self._call, args=(start,)) for start in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _call(self, start: int) -> None:
        with ChurnClient(self.target) as client:
            position = start
            while not self._stop.is_set():
                identifier, features = self.households[position % len(self.households)]
                position += CALLERS
                try:
                    version = client.predict(identifier, features).model_version.version
                except CallError as error:
                    with self._lock:
                        self.failures.append(str(error))
                else:
                    with self._lock:
                        self.served[version] = self.served.get(version, 0) + 1
                # Leaves a core for training: this shows a swap, it does not measure speed.
                time.sleep(0.005)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the server up and say how to call it")
    options = parser.parse_args()
    began = time.perf_counter()
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    shutil.copy(HERE / "regulars.toml", PROJECT)

    step("Features of every household, as of the first date")
    regulars("features", "build", "--as-of", FIRST_DATE, "--out", CUSTOMERS)
    step("Train churn as of the first date, and promote it")
    regulars("train", "churn", "--as-of", FIRST_DATE)
    regulars("promote", "churn")
    step("Follow the champion and serve it")
    regulars("sync", "churn@champion", "--to", BUNDLES, project=True)
    with follower(), server() as (target, metrics):
        households = read_households()
        step("Score one household through PredictChurn")
        with ChurnClient(target) as client:
            show(client.predict(*households[0]))
            step("Score every household through StreamPredictChurn")
            regulars("score", "churn", "--input", CUSTOMERS, "--output", SCORES, "--target", target)
            step(f"Train again {LATER_DATE}, and promote while {CALLERS} callers score without a pause")
            load = Load(target, households)
            with load.running():
                regulars("train", "churn", "--as-of", LATER_DATE)
                regulars("promote", "churn")
                swapped = wait_for_version(client, "2")
                time.sleep(2)
        regulars("models")
        passed = swapped and not load.failures
        report(load, swapped=swapped, seconds=time.perf_counter() - began)
        if options.keep and passed:
            keep(target, metrics, households[0])
    return 0 if passed else 1


def step(title: str) -> None:
    out.print(f"\n[bold]── {title}[/]")


def regulars(*arguments: object, project: bool = True) -> None:
    """Runs the command as a user would; a failure ends the demo with its status."""
    words = [str(argument) for argument in arguments]
    if project:
        words += ["--project", str(PROJECT)]
    out.print(f"[dim]$ regulars {' '.join(words)}[/]")
    status = subprocess.run([*REGULARS, *words], check=False).returncode  # noqa: S603 - our own command
    if status:
        sys.exit(status)


@contextmanager
def follower() -> Iterator[None]:
    words = ["sync", "churn@champion", "--to", str(BUNDLES), "--watch", "--project", str(PROJECT)]
    out.print(f"[dim]$ regulars {' '.join(words)} &[/]")
    with (DEMO / "sync.log").open("w") as log, running([*REGULARS, *words], log):
        yield


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """Starts the server on free ports; yields its address and that of its metrics."""
    words = ["serve", "churn", "--bundles", str(BUNDLES), "--port", "0"]
    out.print(f"[dim]$ regulars {' '.join(words)} &[/]")
    path = DEMO / "server.log"
    with path.open("w") as log, running([*REGULARS, *words], log) as process:
        listening = wait_for_event(path, "listening", process)
        address = f"127.0.0.1:{listening['port']}"
        out.print(f"serving on {address}")
        yield address, f"http://127.0.0.1:{listening['metrics_port']}/metrics"


@contextmanager
def running(command: list[str], log: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stderr=log, stdout=log)  # noqa: S603 - our own command
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for_event(log: Path, event: str, process: subprocess.Popen[bytes]) -> dict[str, str]:
    while process.poll() is None:
        for line in log.read_text().splitlines():
            entry: dict[str, str] = json.loads(line)
            if entry["event"] == event:
                return entry
        time.sleep(0.05)
    sys.exit(f"the server ended with status {process.returncode}:\n{log.read_text()}")


def read_households() -> list[tuple[str, dict[str, float | str | None]]]:
    rows = pq.read_table(CUSTOMERS).to_pylist()
    return [(row.pop("customer_id"), {name: known(value) for name, value in row.items()}) for row in rows]


def known(value: float | str | None) -> float | str | None:
    """NaN is how a file says missing; a request leaves the feature out."""
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN alone differs from itself


def wait_for_version(client: ChurnClient, version: str) -> bool:
    deadline = time.monotonic() + SWAP_SECONDS
    while time.monotonic() < deadline:
        if client.get_model().model_version.version == version:
            return True
        time.sleep(0.1)
    return False


def show(response: PredictChurnResponse) -> None:
    prediction = response.prediction
    out.print(
        f"household {prediction.customer_id}: churns within {response.horizon_days} days with probability "
        f"{prediction.churn_probability:.3f} (percentile {prediction.percentile:.0f})"
        if prediction.HasField("churn_probability")
        else f"household {prediction.customer_id}: not scored"
    )


def report(load: Load, *, swapped: bool, seconds: float) -> None:
    manifest = json.loads((SCORES / "manifest.json").read_text())
    registry = MlflowRegistry(load_project(PROJECT).registry.tracking_uri)
    answers = ", ".join(f"{count:,} by version {version}" for version, count in sorted(load.served.items()))
    rows = [
        *((f"version {version.version}", figures(registry, version)) for version in registry.versions("churn")[::-1]),
        ("scores", f"{manifest['rows']:,} households in {SCORES / 'scores.parquet'}"),
        ("promotion under load", "served" if swapped else f"NOT served within {SWAP_SECONDS:.0f} s"),
        ("requests during it", f"{sum(load.served.values()):,}: {answers}"),
        ("failed", f"{len(load.failures)}" + (f", first: {load.failures[0]}" if load.failures else "")),
        ("whole demo", f"{seconds:.0f} s"),
        ("next", f".venv/bin/regulars models --project {PROJECT}"),
        ("", f".venv/bin/regulars rollback churn --project {PROJECT}"),
        ("", f".venv/bin/regulars up --project {PROJECT}"),
        ("", f".venv/bin/mlflow ui --backend-store-uri sqlite:///{DEMO}/.regulars/mlflow.db"),
    ]
    table("demo", ("", ""), rows)


def figures(registry: MlflowRegistry, version: RegisteredVersion) -> str:
    evidence = registry.evidence(version)
    auc, brier = evidence.metrics["auc"], evidence.metrics["brier"]
    above = ", ".join(f"{one.difference.estimate:+.3f} on {one.other}" for one in evidence.baselines)
    return f"AUC {auc.estimate:.3f} ({above}), Brier {brier.estimate:.3f}"


def keep(target: str, metrics: str, household: tuple[str, dict[str, float | str | None]]) -> None:
    identifier, features = household
    customer = {
        "id": identifier,
        "numeric": {name: value for name, value in features.items() if isinstance(value, float | int)},
        "categorical": {name: value for name, value in features.items() if isinstance(value, str)},
    }
    request = DEMO / "request.json"
    request.write_text(json.dumps({"customer": customer}, indent=1) + "\n")
    call = f"http://{target}/regulars.churn.v1.ChurnService/PredictChurn"
    out.print(f"\nThe server stays up on {target}; metrics are at {metrics}. Call it from another terminal:\n")
    out.print(f"  .venv/bin/buf curl --protocol grpc --http2-prior-knowledge --data @{request} {call}\n")
    out.print(f"  .venv/bin/python examples/complete_journey/call.py {target} {request}\n")
    out.print("Ctrl-C stops it.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        out.print("stopping")


if __name__ == "__main__":
    sys.exit(main())
