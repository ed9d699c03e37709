"""The whole life of a model on real shoppers: train, audit, promote, serve, score, promote and roll back under load.

    ./dev demo [--keep]

Runs the `regulars` command as a user would, in a folder `.demo` that it makes anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from cli.console import out, table
from cli.models import MODELS
from cli.up import METRICS_PORT_OFFSET
from examples.complete_journey.load import CALLERS, Load, inputs_of
from features.project import load_project
from model_registry.clearance import FAIL, INCONCLUSIVE, PASS, audit_verdict
from model_registry.mlflow_registry import MlflowRegistry
from model_registry.registry import CANDIDATE
from services.client import CallError, ChurnClient, CltvClient, ClusteringClient, PropensityClient
from services.core.service import load_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from examples.complete_journey.load import Features
    from model_registry.registry import RegisteredVersion

HOST = "127.0.0.1"
HERE = Path(__file__).parent
DEMO = Path(".demo")
PROJECT = DEMO / "regulars.toml"
CUSTOMERS = DEMO / "customers.parquet"
SCORES = DEMO / "scores"

FIRST_DATE, LATER_DATE = "2017-12-01", "2017-12-31"
"""Where the first training stands, and the second: 30 days, one horizon, later."""

SERVED = ("1", "2", "1")
"""The versions that every caller hears, in this order."""

FOLLOW_SECONDS = 60.0
"""How long the demo waits until callers hear a version. It takes seconds; more is a failure."""

VERDICTS = {
    PASS: "Passed: no group comes off worse than the project tolerates.",
    FAIL: "Failed: a group comes off worse than the project tolerates. It will not be promoted.",
    INCONCLUSIVE: "Undecided: only 801 of 2,469 households told the grocer about themselves, and few of those leave.\n"
    "This project allows a promotion without a passed audit; it never allows one with a failed audit.",
}
"""What an audit's verdict means here."""

REGULARS = [sys.executable, "-m", "cli.main"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the servers up and say how to call them")
    options = parser.parse_args()
    began = time.perf_counter()
    require_free_ports()
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    shutil.copy(HERE / "regulars.toml", PROJECT)

    step("Features", "Baskets become numbers: how long ago a household came, how often, what it spent.")
    regulars("features", "build", "--as-of", FIRST_DATE, "--out", CUSTOMERS)
    step("Train", "Each model learns from the past and is tested on later days. Its version is a candidate.")
    regulars("train", "all", "--as-of", FIRST_DATE)
    step("Audit", "Does churn treat groups of households alike? No model sees age or income; the audit compares them.")
    audit("churn")
    step("Promote", "A candidate that passes every gate becomes champion.")
    for model in MODELS:
        regulars("promote", model)
    step("Serve", "A server for each model follows its champion.")
    with up():
        households = read_households()
        step("Score one household", "One call to each server, as a page or a call centre would.")
        for show in (show_churn, show_propensity, show_value, show_cluster):
            show(*households[0])
        step("Score every household", "Streams through all four servers, into one table.")
        regulars("score", "all", "--input", CUSTOMERS, "--output", SCORES, "--engine", "grpc")
        load, seconds_back = promote_and_roll_back(households)
        step("What is there now", "Both versions of churn stay, with their figures and what their audits came to.")
        regulars("models")
        passed = load.orders == {SERVED} and not load.failures
        report(load, seconds_back=seconds_back, seconds=time.perf_counter() - began)
        if options.keep and passed:
            with ChurnClient(target("churn")) as client:
                identifier, features = households[0]
                keep((identifier, inputs_of(client)(features)))
    return 0 if passed else 1


def promote_and_roll_back(households: list[tuple[str, Features]]) -> tuple[Load, float]:
    """Churn a month later. Returns what its callers heard, and the seconds until a rollback had reached all of them."""
    step("Train and audit again", f"A month has passed: version 2 of churn stands at {LATER_DATE}.")
    regulars("train", "churn", "--as-of", LATER_DATE)
    audit("churn")
    load = Load(target("churn"), households)
    with load.running():
        load.wait_for("1", FOLLOW_SECONDS)
        step("Promote under load", f"{CALLERS} callers score without a pause while version 2 takes over.")
        regulars("promote", "churn", "--wait")
        load.wait_for("2", FOLLOW_SECONDS)
        step("Roll back under load", "Something is wrong with version 2? One command, and version 1 is back.")
        began = time.perf_counter()
        regulars("rollback", "churn", "--wait")
        load.wait_for("1", FOLLOW_SECONDS)
    return load, time.perf_counter() - began


def require_free_ports() -> None:
    """Ends the demo before the training, which takes minutes, and not after it."""
    ports = [load_service(model).PORT for model in MODELS]
    for port in (*ports, *(port + METRICS_PORT_OFFSET for port in ports)):
        try:
            socket.create_server((HOST, port)).close()
        except OSError:
            sys.exit(f"port {port} of {HOST} is in use: end what uses it, such as another 'regulars up', and try again")


def step(title: str, meaning: str) -> None:
    out.print(f"\n[bold]── {title}[/]\n{meaning}")


def regulars(*arguments: object) -> None:
    """Runs the command as a user would; a failure ends the demo with its status."""
    status = run(*arguments)
    if status:
        sys.exit(status)


def run(*arguments: object) -> int:
    """Runs the command and returns its status."""
    words = [*map(str, arguments), "--project", str(PROJECT)]
    out.print(f"[dim]$ regulars {' '.join(words)}[/]")
    return subprocess.run([*REGULARS, *words], check=False).returncode  # noqa: S603 - our own command


def audit(model: str) -> None:
    """Audits the candidate and says what its verdict means; an audit that could not be made ends the demo."""
    status = run("audit", "fairness", f"{model}@{CANDIDATE}")
    candidate = registry().resolve(model, CANDIDATE)
    verdict = audit_verdict(candidate) if candidate else ""
    if not verdict:
        sys.exit(status)
    out.print(f"\n{VERDICTS[verdict]}")


def registry() -> MlflowRegistry:
    return MlflowRegistry(load_project(PROJECT).registry.tracking_uri)


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
    return f"{HOST}:{load_service(model).PORT}"


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


def report(load: Load, *, seconds_back: float, seconds: float) -> None:
    opened = registry()
    versions = [version for model in MODELS for version in opened.versions(model)[::-1]]
    answers = ", ".join(f"{count:,} by version {version}" for version, count in sorted(load.answers.items()))
    rows = [
        *((f"{version.name} {version.version}", figures(opened, version)) for version in versions),
        ("scores", scored()),
        ("calls under load", f"{load.answers.total():,}: {answers}"),
        ("versions served", " and ".join(", then ".join(order) for order in sorted(load.orders))),
        ("failed", f"{len(load.failures)}" + (f", first: {load.failures[0]}" if load.failures else "")),
        ("rollback", f"{seconds_back:.1f} s until version 1 answered every caller again"),
        ("whole demo", f"{seconds:.0f} s"),
        ("next", f".venv/bin/regulars models --project {PROJECT}"),
        ("", f".venv/bin/regulars promote churn --dry-run --project {PROJECT}"),
        ("", f".venv/bin/regulars up --project {PROJECT}"),
        ("", f".venv/bin/regulars mlflow --project {PROJECT}"),
    ]
    table("demo", ("", ""), rows)
    if load.orders != {SERVED}:
        out.print(f"[red]every caller should have heard {', then '.join(SERVED)}[/]")


def scored() -> str:
    households = pq.read_table(SCORES, columns=["customer_id"])
    return f"{households.num_rows:,} households by {len(MODELS)} models in {SCORES}"


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
