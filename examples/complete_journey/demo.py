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
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from cli.console import out, table
from cli.models import MODELS
from features.project import load_project
from model_registry.mlflow_registry import MlflowRegistry
from services.client import CallError, ChurnClient, CltvClient, ClusteringClient, PropensityClient
from services.core.service import load_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_registry.registry import RegisteredVersion
    from services.client import AnyClient

    Features = dict[str, float | str | None]

HERE = Path(__file__).parent
DEMO = Path(".demo")
PROJECT = DEMO / "regulars.toml"
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
    households: list[tuple[str, Features]]
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
            inputs = inputs_of(client)
            position = start
            while not self._stop.is_set():
                identifier, features = self.households[position % len(self.households)]
                position += CALLERS
                try:
                    version = client.predict(identifier, inputs(features)).model_version.version
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
    step("Train all four models as of the first date, and promote them")
    regulars("train", "all", "--as-of", FIRST_DATE)
    for model in MODELS:
        regulars("promote", model)
    step("Serve the champions, each in a process of its own")
    with up():
        households = read_households()
        step("Score one household through each service")
        for show in (show_churn, show_propensity, show_value, show_cluster):
            show(*households[0])
        step("Score every household through each service's stream")
        for model in MODELS:
            regulars("score", model, "--input", CUSTOMERS, "--output", SCORES / model, "--target", target(model))
        step(f"Train churn again {LATER_DATE}, and promote while {CALLERS} callers score without a pause")
        load = Load(target("churn"), households)
        with load.running(), ChurnClient(target("churn")) as client:
            regulars("train", "churn", "--as-of", LATER_DATE)
            regulars("promote", "churn")
            swapped = wait_for_version(client, "2")
            time.sleep(2)
        regulars("models")
        passed = swapped and not load.failures
        report(load, swapped=swapped, seconds=time.perf_counter() - began)
        if options.keep and passed:
            with ChurnClient(target("churn")) as client:
                identifier, features = households[0]
                keep((identifier, inputs_of(client)(features)))
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
def up() -> Iterator[None]:
    """Runs `regulars up` until the end of the block, once every model is served."""
    words = ["up", "--project", str(PROJECT)]
    out.print(f"[dim]$ regulars {' '.join(words)} &[/]")
    path = DEMO / "up.log"
    with path.open("w") as log:
        process = subprocess.Popen([*REGULARS, *words], stderr=log, stdout=log)  # noqa: S603 - our own command
        try:
            for model in MODELS:
                wait_until_served(model, process, path)
                out.print(f"{model} is served on {target(model)}")
            yield
        finally:
            process.terminate()
            process.wait()


def target(model: str) -> str:
    return f"127.0.0.1:{load_service(model).PORT}"


def wait_until_served(model: str, process: subprocess.Popen[bytes], log: Path) -> None:
    with ChurnClient(target(model)) as client:
        while process.poll() is None:
            try:
                client.get_model()
            except CallError:
                time.sleep(0.1)
            else:
                return
    sys.exit(f"the servers ended with status {process.returncode}:\n{log.read_text()}")


def read_households() -> list[tuple[str, Features]]:
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


def inputs_of(client: AnyClient) -> Callable[[Features], Features]:
    """Takes the inputs of the served model out of a row of features, which holds those of all models."""
    names = {one.name for one in client.get_model().model.inputs}
    return lambda features: {name: value for name, value in features.items() if name in names}


def show_churn(identifier: str, features: Features) -> None:
    with ChurnClient(target("churn")) as client:
        response = client.predict(identifier, inputs_of(client)(features))
    answer = response.prediction
    out.print(
        f"household {identifier} leaves within {response.horizon_days} days with probability "
        f"{answer.churn_probability:.3f} (percentile {answer.percentile:.0f})"
    )


def show_propensity(identifier: str, features: Features) -> None:
    with PropensityClient(target("propensity")) as client:
        response = client.predict(identifier, inputs_of(client)(features))
    answer = response.prediction
    ranked = ", ".join(f"{one.category} {one.purchase_probability:.2f}" for one in answer.categories)
    out.print(f"it buys within {response.horizon_days} days with {answer.purchase_probability:.3f}: {ranked}")


def show_value(identifier: str, features: Features) -> None:
    with CltvClient(target("cltv")) as client:
        response = client.predict(identifier, inputs_of(client)(features))
    answer = response.prediction
    out.print(
        f"it brings {answer.expected_value:.0f} {response.currency} within {response.horizon_days} days, "
        f"{answer.lower_bound:.0f} to {answer.upper_bound:.0f} with {response.interval_level:.0%}: tier {answer.tier}"
    )


def show_cluster(identifier: str, features: Features) -> None:
    with ClusteringClient(target("clustering")) as client:
        answer = client.predict(identifier, inputs_of(client)(features)).assignment
    scores = f"{answer.recency_score}{answer.frequency_score}{answer.monetary_score}"
    out.print(f"it is one of segment {answer.cluster_id}, {answer.cluster_name} (RFM {scores})")


def report(load: Load, *, swapped: bool, seconds: float) -> None:
    registry = MlflowRegistry(load_project(PROJECT).registry.tracking_uri)
    versions = [version for model in MODELS for version in registry.versions(model)[::-1]]
    answers = ", ".join(f"{count:,} by version {version}" for version, count in sorted(load.served.items()))
    rows = [
        *((f"{version.name} {version.version}", figures(registry, version)) for version in versions),
        *((f"{model} scores", scored(model)) for model in MODELS),
        ("promotion under load", "served" if swapped else f"NOT served within {SWAP_SECONDS:.0f} s"),
        ("requests during it", f"{sum(load.served.values()):,}: {answers}"),
        ("failed", f"{len(load.failures)}" + (f", first: {load.failures[0]}" if load.failures else "")),
        ("whole demo", f"{seconds:.0f} s"),
        ("next", f".venv/bin/regulars models --project {PROJECT}"),
        ("", f".venv/bin/regulars audit fairness churn@champion --project {PROJECT}"),
        ("", f".venv/bin/regulars rollback churn --project {PROJECT}"),
        ("", f".venv/bin/regulars up --project {PROJECT}"),
        ("", f".venv/bin/mlflow ui --backend-store-uri sqlite:///{DEMO}/.regulars/mlflow.db"),
    ]
    table("demo", ("", ""), rows)


def scored(model: str) -> str:
    folder = SCORES / model
    manifest = json.loads((folder / "manifest.json").read_text())
    return f"{manifest['rows']:,} households in {folder / 'scores.parquet'}"


def figures(registry: MlflowRegistry, version: RegisteredVersion) -> str:
    evidence = registry.evidence(version)
    metric = evidence.baselines[0].metric
    above = ", ".join(
        f"{one.difference.estimate:+.3f} on {one.other}" for one in evidence.baselines if one.metric == metric
    )
    return f"{evidence.grade}: {metric} {evidence.metrics[metric].estimate:.3f} ({above})"


def keep(household: tuple[str, Features]) -> None:
    identifier, features = household
    customer = {
        "id": identifier,
        "numeric": {name: value for name, value in features.items() if isinstance(value, float | int)},
        "categorical": {name: value for name, value in features.items() if isinstance(value, str)},
    }
    request = DEMO / "request.json"
    request.write_text(json.dumps({"customer": customer}, indent=1) + "\n")
    address = target("churn")
    call = f"http://{address}/regulars.churn.v1.ChurnService/PredictChurn"
    out.print(f"\nThe servers stay up, churn on {address}. Call it from another terminal:\n")
    out.print(f"  .venv/bin/buf curl --protocol grpc --http2-prior-knowledge --data @{request} {call}\n")
    out.print(f"  .venv/bin/python examples/complete_journey/call.py {address} {request}\n")
    out.print("Ctrl-C stops it.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        out.print("stopping")


if __name__ == "__main__":
    sys.exit(main())
