"""The whole suite on this machine: registry, models, followers, servers, callers, and Prometheus watching them."""

from __future__ import annotations

import datetime as dt
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import yaml

from cli.models import MODELS
from model_registry.mlflow_registry import MlflowRegistry
from model_registry.registry import CHAMPION
from model_registry.release import read_release
from services.client import CallError, Security, load_client
from services.client.security import UNSECURED
from tests.rehearsal.callers import Callers
from tests.rehearsal.processes import Daemon, Jobs, running
from tests.rehearsal.tempo import FASTER, write_hastened
from tests.rehearsal.watch import Watch
from tests.support.certificates import authority
from tests.support.polling import eventually
from tests.support.postgres import Postgres, postgres
from tests.support.prometheus import Prometheus, prometheus, pushgateway
from tests.support.server import REPOSITORY
from tests.support.tracking import START_SECONDS, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from model_registry.registry import RegisteredVersion
    from model_registry.release import Release

EXAMPLE = REPOSITORY / "examples" / "complete_journey" / "regulars.toml"
RULES = REPOSITORY / "k8s" / "components" / "monitoring" / "rules"

FIRST_DATE, LATER_DATE = "2017-12-01", "2017-12-31"
"""Where all trainings stand, and the second one of a model."""

TWICE = "churn"
"""The model with a second version, which the acts are about."""
SECURED = "propensity"
"""The server that speaks TLS and asks for tokens."""
VALID_DAYS = 365
"""Of its certificate: longer than any alert looks ahead."""

SNAPSHOTS = "snapshots = 7", "snapshots = 4"
"""What the example trains on, and what is enough here: models that pass their gates, in half the time."""
PATIENT = 10
"""How nice jobs are beside servers: in production they have machines of their own."""
HOST = "127.0.0.1"
WORKERS = 2
SCRAPE_SECONDS = 1.0
SERVED_SECONDS = 90.0
"""A follower imports MLflow, downloads and verifies before there is anything to serve."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Server:
    """One model's server and the ports that it was given."""

    daemon: Daemon
    port: int
    metrics_port: int
    health_port: int
    security: Security

    @property
    def target(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def metrics(self) -> str:
        return f"{HOST}:{self.metrics_port}"

    def wait_until_serving(self, model: str) -> None:
        """Until a caller is answered."""

        def answered() -> bool:
            self.daemon.require_running()
            with load_client(model)(self.target, self.security) as client, suppress(CallError):
                return bool(client.get_model())
            return False

        eventually(answered, f"{model} to be served", SERVED_SECONDS)


@dataclass(frozen=True)
class Follower:
    """One model's `regulars sync --watch`."""

    daemon: Daemon
    metrics_port: int

    @property
    def metrics(self) -> str:
        return f"{HOST}:{self.metrics_port}"


@dataclass(frozen=True)
class Workshop:
    """Where jobs are run: a project in a folder, and an MLflow server on PostgreSQL that it names."""

    folder: Path
    database: Postgres
    port: int
    jobs: Jobs

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def project(self) -> Path:
        return self.folder / "regulars.toml"

    @property
    def customers(self) -> Path:
        """Their features at the first date."""
        return self.folder / "customers.parquet"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @cached_property
    def registry(self) -> MlflowRegistry:
        return MlflowRegistry(self.uri)

    def regulars(self, *words: str, log: str, statuses: tuple[int, ...] = (0,)) -> str:
        """Runs a command on the project; see `Jobs.run`."""
        return self.jobs.run(self.logs / f"{log}.log", *words, "--project", str(self.project), statuses=statuses)

    def wait_for_mlflow(self, server: Daemon) -> None:
        def answered() -> bool:
            server.require_running()
            return _answers(f"{self.uri}/health")

        eventually(answered, "MLflow to answer", START_SECONDS)

    def version(self, model: str, number: str) -> RegisteredVersion:
        return self.registry.get(model, number)

    @contextmanager
    def downloaded(self, version: RegisteredVersion) -> Iterator[Path]:
        """Its bundle, in a folder to do with as one likes."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield self.registry.download_bundle(version, Path(folder))


@dataclass(frozen=True)
class Stage:
    """All of it, running."""

    workshop: Workshop
    mlflow: Daemon
    bundles: Path
    followers: dict[str, Follower]
    servers: dict[str, Server]
    callers: Callers
    gateway: str
    watch: Watch

    def release(self, model: str) -> Release:
        """What the servers' folder releases."""
        release = read_release(self.bundles, model)
        assert release is not None
        return release

    def labels(self, expression: str, label: str) -> list[str]:
        """What that label says in the answers of Prometheus, in the order of the alphabet."""
        return sorted(sample.labels[label] for sample in self.watch.prometheus.query(expression))

    def version_in_metrics(self, model: str) -> str:
        """The version that Prometheus knows to be served, or all of them while workers change over."""
        return ", ".join(self.labels(f'regulars_model_info{{model="{model}"}} == 1', "version"))

    def refused_swaps(self, model: str) -> float:
        found = self.watch.prometheus.query(f'regulars_swaps_total{{model="{model}", outcome="refused"}}')
        return sum(sample.value for sample in found)


@contextmanager
def workshop(folder: Path, say: Say) -> Iterator[tuple[Workshop, Daemon]]:
    """PostgreSQL, and the project's MLflow on it."""
    with postgres() as database:
        say(f"PostgreSQL answers on port {database.port}")
        shop = Workshop(folder, database, free_port(), Jobs())
        shop.logs.mkdir(parents=True)
        example = EXAMPLE.read_text()
        assert SNAPSHOTS[0] in example
        shop.project.write_text(f'{example.replace(*SNAPSHOTS)}\n[registry]\ntracking_uri = "{shop.uri}"\n')
        words = ("mlflow", "--backend", database.uri, "--port", str(shop.port), "--project", str(shop.project))
        with running(Daemon(words, shop.logs / "mlflow.log")) as server:
            shop.wait_for_mlflow(server)
            say(f"MLflow answers on {shop.uri}, its database is PostgreSQL")
            yield shop, server


def train_and_promote(shop: Workshop, say: Say) -> None:
    """Every model has a champion, and churn a candidate of a month later, which was compared with it."""

    def train(model: str, as_of: str) -> None:
        shop.regulars("train", model, "--as-of", as_of, log=f"train-{model}")
        say(f"{model} is trained as of {as_of}")

    def promote(model: str) -> None:
        shop.regulars("promote", model, log=f"promote-{model}")
        say(f"{model} has a champion")

    def bring_up(model: str) -> None:
        train(model, FIRST_DATE)
        promote(model)
        if model == TWICE:
            train(model, LATER_DATE)

    def build_features() -> None:
        shop.regulars("features", "build", "--as-of", FIRST_DATE, "--out", str(shop.customers), log="features")

    shop.jobs.together(*(partial(bring_up, model) for model in MODELS), build_features)


@contextmanager
def stage(shop: Workshop, mlflow: Daemon, say: Say) -> Iterator[Stage]:
    """Followers, servers, callers and Prometheus, until the end of the block; yields once everybody is served."""
    bundles = shop.folder / "bundles"
    with ExitStack() as stack:
        followers = {model: _follower(shop, model, bundles) for model in MODELS}
        servers = {model: _server(shop, model, bundles) for model in MODELS}
        daemons = [*(one.daemon for one in followers.values()), *(one.daemon for one in servers.values())]
        for daemon in daemons:
            stack.enter_context(running(daemon))
        # All at once: one after the other they would take as long as all of them together.
        for daemon in daemons:
            stack.callback(daemon.ask_to_end)
        for model, server in servers.items():
            server.wait_until_serving(model)
            say(f"{model} is served on {server.target}" + (", by TLS and with tokens" if model == SECURED else ""))
        shop.jobs.niceness = PATIENT
        gateway = stack.enter_context(pushgateway(shop.folder / "pushgateway"))
        watching = stack.enter_context(_prometheus(shop, followers, servers, gateway))
        say(f"Prometheus watches on {watching.url}, with the rules of {RULES.relative_to(REPOSITORY)} at {FASTER}x")
        targets = {model: (server.target, server.security) for model, server in servers.items()}
        callers = Callers(targets, pq.read_table(shop.customers))
        stack.enter_context(callers.calling())
        addresses = {one.metrics: model for parts in (followers, servers) for model, one in parts.items()}
        yield Stage(shop, mlflow, bundles, followers, servers, callers, gateway, Watch(watching, addresses))


def _prometheus(
    shop: Workshop, followers: Mapping[str, Follower], servers: Mapping[str, Server], gateway: str
) -> AbstractContextManager[Prometheus]:
    targets = {
        "regulars": [server.metrics for server in servers.values()],
        "regulars-sync": [follower.metrics for follower in followers.values()],
        "pushgateway": [urlsplit(gateway).netloc],
    }
    return prometheus(
        shop.folder / "prometheus",
        targets,
        rules=write_hastened(rule_files(), shop.folder / "rules"),
        scrape_seconds=SCRAPE_SECONDS,
        honor_labels_of=["pushgateway"],
    )


def rule_files() -> list[Path]:
    return sorted(RULES.glob("*.yaml"))


def alerts() -> list[str]:
    """The names of all that the rules have."""
    groups = (group for file in rule_files() for group in yaml.safe_load(file.read_text())["groups"])
    return [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


def _follower(shop: Workshop, model: str, bundles: Path) -> Follower:
    port = free_port()
    words = ("sync", f"{model}@{CHAMPION}", "--to", str(bundles), "--watch", "--metrics-port", str(port))
    daemon = Daemon((*words, "--project", str(shop.project)), shop.logs / f"sync-{model}.log")
    return Follower(daemon, port)


def _server(shop: Workshop, model: str, bundles: Path) -> Server:
    port, metrics_port, health_port = free_port(), free_port(), free_port()
    settings, security = _secured(shop) if model == SECURED else ({}, UNSECURED)
    words = ("serve", model, "--bundles", str(bundles), "--workers", str(WORKERS))
    ports = ("--port", str(port), "--metrics-port", str(metrics_port))
    environment = {"REGULARS_HEALTH_PORT": str(health_port), **settings}
    daemon = Daemon((*words, *ports), shop.logs / f"serve-{model}.log", environment)
    return Server(daemon, port, metrics_port, health_port, security)


def _secured(shop: Workshop) -> tuple[dict[str, str], Security]:
    """The settings of a server that speaks TLS and asks for tokens, and what a caller needs."""
    folder = shop.folder / "secrets"
    folder.mkdir()
    signer = authority()
    ca, _ = signer.write(folder, "ca")
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=VALID_DAYS)
    certificate, key = signer.issue(expires=expires).write(folder)
    tokens, token = folder / "tokens", folder / "token"
    words = ("token", "rehearsal", "--role", "score", "--file", str(tokens))
    token.write_text(shop.jobs.run(shop.logs / "token.log", *words))
    settings = {
        "REGULARS_TLS_CERTIFICATE": str(certificate),
        "REGULARS_TLS_KEY": str(key),
        "REGULARS_TOKENS": str(tokens),
    }
    return settings, Security(ca=ca, token=token)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
