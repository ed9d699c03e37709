"""All that has metrics, small, in every trouble that they tell of, and watched by a real Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml

from cli import audit
from cli.main import main
from model_registry.distributions import distribution_of_numbers
from model_registry.registry import CHAMPION
from model_registry.release import RELEASE_FILE, Release
from model_registry.schema import PopulationRule, Status
from services.client import AnyClient, CallError, CltvClient, Security, load_client
from services.client.security import UNSECURED
from services.core.access import Role, grant, new_token
from tests.contract.test_registry import open_mlflow
from tests.fakes.registry import FakeRegistry
from tests.support.audited import shop, spent_bundle
from tests.support.bundles import (
    BREAKING,
    SAMPLES,
    SCHEMA,
    SLOW_ABOVE,
    awkward_graph,
    columns,
    make_bundle,
    random_columns,
    release_bundle,
)
from tests.support.calls import failure_of, features_of, predict
from tests.support.calls import table_of as sent_table
from tests.support.certificates import authority
from tests.support.dashboards import COMPONENT, RULES
from tests.support.drift import PROJECT, WINDOW, frozen_model, people, table_of
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.prometheus import Prometheus, prometheus, pushgateway
from tests.support.server import REPOSITORY, SUPERVISOR, ServerProcess, running, server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CUSTOMERS = 200
SINGLES = 40
"""Calls for one customer, of which one in 16 is timed in stages."""

WORKERS = 2
SCRAPE_SECONDS = 1.0
SLOW = columns((10, SLOW_ABOVE + 200_000, "web"))
"""A tenth of a second."""
UNLUCKY = columns((10, BREAKING, "web"))
A_STREAM = f"/{CltvClient.SERVICE}/StreamPredictLifetimeValue"


@dataclass(frozen=True)
class Suite:
    """The servers by what they are here for, what follows the registry, and the files of the one that asks for tokens.

    `shadow` is the churn server's, a server of its own besides.
    """

    churn: ServerProcess
    shadow: ServerProcess
    propensity: ServerProcess
    cltv: ServerProcess
    clustering: ServerProcess
    sync: ServerProcess
    security: Security
    tokens: Path
    bundles: Path

    def client(self, model: str) -> AnyClient:
        server: ServerProcess = getattr(self, model)
        security = self.security if model == "propensity" else UNSECURED
        return load_client(model)(f"127.0.0.1:{server.port}", security)


@contextmanager
def watched(folder: Path) -> Iterator[Prometheus]:
    """The suite after its troubles, as Prometheus has seen it come to them, until the end of the block."""
    with ExitStack() as stack:
        suite = _suite(stack, folder)
        gateway = stack.enter_context(pushgateway(folder / "gateway"))
        servers = (suite.churn, suite.shadow, suite.propensity, suite.cltv, suite.clustering)
        targets = {
            "servers": [_page(server.metrics_port) for server in servers],
            "sync": [_page(suite.sync.wait_for("metrics of sync")[0]["metrics_port"])],
            "pushgateway": [urlsplit(gateway).netloc],
        }
        watching = prometheus(
            folder / "prometheus",
            targets,
            rules=_rules_at_every_scrape(folder / "rules"),
            scrape_seconds=SCRAPE_SECONDS,
            honor_labels_of=["pushgateway"],
        )
        seen = stack.enter_context(watching)
        # What is counted before nobody has looked is no increase.
        seen.wait_until_scraped()
        _run_jobs(folder / "jobs", gateway)
        _lose_a_worker(suite.churn)
        _call(suite)
        _trouble(stack, suite)
        _wait_until_seen(seen, time.time())
        yield seen


def _page(port: int) -> str:
    return f"127.0.0.1:{port}"


def _suite(stack: ExitStack, folder: Path) -> Suite:
    bundles = folder / "bundles"
    synced = folder / "synced"
    sync = stack.enter_context(_following(folder, synced))
    for model in ("propensity", "cltv", "clustering"):
        SAMPLES[model].release(bundles, "7")
    stricter = replace(SCHEMA, population=(PopulationRule("recency_days", Status.INACTIVE, maximum=60.0),))
    release_bundle(folder / "shadow", "2", weight=0.02, model=awkward_graph(0.02), schema=stricter)
    secured, security = _secured(folder / "secrets")
    start = stack.enter_context
    shadow = start(running(folder / "shadow"))
    churn = running(synced, command=SUPERVISOR, workers=WORKERS, shadow=f"127.0.0.1:{shadow.port}", shadow_share=1.0)
    suite = Suite(
        churn=start(churn),
        shadow=shadow,
        propensity=start(running(bundles, command=server_of("propensity"), **secured)),
        cltv=start(running(bundles, command=server_of("cltv"), bulk_calls=1)),
        clustering=start(running(bundles, command=server_of("clustering"))),
        sync=sync,
        security=security,
        tokens=secured["tokens"],
        bundles=bundles,
    )
    suite.churn.wait_for("serving", WORKERS)
    return suite


@contextmanager
def _following(folder: Path, bundles: Path) -> Iterator[ServerProcess]:
    """`regulars sync --watch` of a champion in an MLflow of its own."""
    place = open_mlflow(folder)
    place.registry.point("churn", CHAMPION, place.train().version)
    words = ["sync", f"churn@{CHAMPION}", "--to", str(bundles), "--watch", "--metrics-port", "0", "--allow-unaudited"]
    command = [sys.executable, "-m", "cli.main", *words, "--registry", f"sqlite:///{folder}/deep/down/mlflow.db"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        yield ServerProcess(process)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _secured(folder: Path) -> tuple[dict[str, Any], Security]:
    """The settings of a server with TLS and tokens, and what a caller needs."""
    folder.mkdir()
    signer, token = authority(), new_token()
    certificate, key = signer.issue().write(folder)
    ca, _ = signer.write(folder, "ca")
    (folder / "token").write_text(token)
    (folder / "tokens").write_text(grant("shop", Role.SCORE, token).line())
    settings = {"tls_certificate": certificate, "tls_key": key, "tokens": folder / "tokens"}
    return settings, Security(ca=ca, token=folder / "token")


def _rules_at_every_scrape(folder: Path) -> list[Path]:
    """The rules as they are, but that none of them waits for longer than the others."""
    folder.mkdir()
    for file in (COMPONENT / "rules").glob("*.yaml"):
        groups = yaml.safe_load(file.read_text())["groups"]
        hurried = [{"name": group["name"], "rules": group["rules"]} for group in groups]
        (folder / file.name).write_text(yaml.safe_dump({"groups": hurried}))
    return sorted(folder.iterdir())


def _lose_a_worker(server: ServerProcess) -> None:
    psutil.Process(server.process.pid).children()[0].kill()
    server.wait_for("listening", WORKERS + 1)


def _call(suite: Suite) -> None:
    """Every model in every way, with values that are missing and values that nobody has seen."""
    everybody = random_columns(CUSTOMERS, seed=1)
    everybody.numeric[:, 0] = np.clip(everybody.numeric[:, 0], -3, 95)
    for model in SAMPLES:
        with suite.client(model) as client:
            for row in range(SINGLES):
                client.predict(f"c{row}", features_of(everybody, row))
            client.batch_predict(sent_table(everybody))
            list(client.stream_predict([sent_table(everybody)] * 2))


def _trouble(stack: ExitStack, suite: Suite) -> None:
    """All that goes wrong."""
    with suite.client("clustering") as client:
        _expect("INVALID_ARGUMENT", lambda: client.batch_predict(sent_table(columns())))
    with suite.shadow.channel() as channel:
        predict(channel, SLOW)
        assert failure_of(lambda: predict(channel, UNLUCKY)).code == "INTERNAL"
    stranger = Security(ca=suite.security.ca)
    with load_client("propensity")(f"127.0.0.1:{suite.propensity.port}", stranger) as client:
        _expect("UNAUTHENTICATED", client.get_model)
    _fill_a_lane(stack, suite.cltv)

    # No folder of that name is there.
    gone = Release("8", CHAMPION, "0" * 64)
    (suite.bundles / "clustering" / RELEASE_FILE).write_text(json.dumps(asdict(gone)))
    suite.tokens.write_text("no line of a token\n")
    eventually(lambda: suite.clustering.metric("regulars_swaps_total", outcome="refused") > 0, "a refusal")
    eventually(lambda: suite.propensity.metric("regulars_setting_stale") > 0, "tokens that cannot be read")


def _expect(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(CallError) as raised:
        call()
    assert raised.value.code.name == code


def _fill_a_lane(stack: ExitStack, server: ServerProcess) -> None:
    """One stream that stays open, and another that is refused."""
    channel = stack.enter_context(server.channel())
    open_stream = channel.stream_stream(A_STREAM, bytes, bytes)
    stack.callback(open_stream(iter(SimpleQueue[bytes]().get, None)).cancel)
    eventually(lambda: server.metric("regulars_calls_in_flight", lane="bulk") > 0, "the stream")
    with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
        list(open_stream(iter(())))


def _run_jobs(folder: Path, gateway: str) -> None:
    """An audit of each kind and a batch run, as their commands publish them."""
    folder.mkdir()
    _score(folder / "batch", gateway)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audits.statistics.RESAMPLES", 100)
        _audit_drift(folder / "drift", gateway, patch)
        _audit_fairness(folder / "fairness", gateway, patch)


def _score(folder: Path, gateway: str) -> None:
    """Of customers other than those whom the model was tested on; one of them stands twice."""
    folder.mkdir()
    (output,) = SCHEMA.outputs
    frozen = replace(output, distribution=distribution_of_numbers(np.linspace(0.0, 0.3, 2000).astype(np.float32)))
    SAMPLES["churn"].release(folder / "bundles", "7", schema=replace(SCHEMA, outputs=(frozen,)))
    table = table_of(people(2000, seed=2))
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), folder / "customers.parquet")
    (folder / "regulars.toml").write_text(PROJECT)
    places = {"input": "customers.parquet", "bundles": "bundles", "output": "scores", "project": "regulars.toml"}
    words = [word for name, file in places.items() for word in (f"--{name}", str(folder / file))]
    assert main(["score", "churn", *words, "--push", gateway]) == 0


def _audit_drift(folder: Path, gateway: str, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    model = frozen_model(people(2000, seed=0))
    bundle = make_bundle(folder / "bundle", schema=model.schema, training_window=WINDOW)
    patch.setattr(audit, "MlflowRegistry", _registry_of(folder / "bundle", bundle.digest))
    later = people(1500, seed=1)
    later.numeric[:, 0] = np.minimum(later.numeric[:, 0] * 3, 90.0)
    pq.write_table(table_of(later), folder / "features.parquet")
    (folder / "regulars.toml").write_text(PROJECT)
    sides = {"gender": ["f", "m"] * 750, "region": ["north"] * 750 + ["south"] * 750}
    pacsv.write_csv(pa.table({"who": [f"c{row:05}" for row in range(1500)], **sides}), folder / "people.csv")
    (folder / "orders.csv").write_text("who,at,paid\nc00001,2017-01-01,5.0\n")
    words = ["--input", str(folder / "features.parquet"), "--project", str(folder / "regulars.toml")]
    assert main(["audit", "drift", "churn", *words, "--push", gateway]) == 1


def _audit_fairness(folder: Path, gateway: str, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    bundle = spent_bundle(folder / "bundle", weight=0.0)
    patch.setattr(audit, "MlflowRegistry", _registry_of(folder / "bundle", bundle.digest))
    assert main(["audit", "fairness", "churn", "--project", str(shop(folder / "shop")), "--push", gateway]) == 1


def _registry_of(bundle: Path, digest: str) -> Callable[..., FakeRegistry]:
    registry = FakeRegistry()
    registry.add("4", digest, bundle=bundle)
    for alias in (CHAMPION, "candidate"):
        registry.place(alias, "4")
    return lambda *_, **__: registry


def _wait_until_seen(seen: Prometheus, since: float) -> None:
    """Until all pages have been read after that time, and the rules have read what came of it."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}

    def all_later_than(at: float, *names: str) -> bool:
        answers = [sample for name in names for sample in seen.query(f"min(timestamp({name}))")]
        return all(sample.value > at for sample in answers)

    eventually(lambda: all_later_than(since, "up"), "scrapes")
    eventually(lambda: all_later_than(since + 2 * SCRAPE_SECONDS, *recorded), "rules")
