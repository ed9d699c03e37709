"""A real Prometheus and a real Pushgateway, both out of Debian's packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.tracking import free_port

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path


class RefusedError(Exception):
    """Prometheus does not take a question. Holds the question and what it says of it."""


class Sample(NamedTuple):
    """One series of an answer; a scalar has no labels."""

    labels: dict[str, str]
    value: float


class Alert(NamedTuple):
    """An alert that is `pending` or `firing`."""

    name: str
    state: str
    labels: dict[str, str]
    annotations: dict[str, str]


class Target(NamedTuple):
    """What is scraped; `health` is up, down or unknown, and `error` what the last scrape failed by."""

    job: str
    address: str
    health: str
    error: str


class Rule(NamedTuple):
    """A rule as it was last evaluated; `error` says what it failed by, or nothing."""

    name: str
    error: str


class Prometheus(NamedTuple):
    """A running server."""

    url: str

    def query(self, expression: str) -> list[Sample]:
        """The answer to an instant query, now.

        Raises:
            RefusedError: the expression is none, or cannot be answered.
        """
        found = self._data("query", query=expression)
        rows = [{"metric": {}, "value": found["result"]}] if found["resultType"] == "scalar" else found["result"]
        return [Sample(row["metric"], float(row["value"][1])) for row in rows]

    def alerts(self) -> list[Alert]:
        return [
            Alert(row["labels"]["alertname"], row["state"], row["labels"], row["annotations"])
            for row in self._data("alerts")["alerts"]
        ]

    def targets(self) -> list[Target]:
        return [
            Target(row["labels"]["job"], row["discoveredLabels"]["__address__"], row["health"], row["lastError"])
            for row in self._data("targets")["activeTargets"]
        ]

    def rules(self) -> list[Rule]:
        groups = self._data("rules")["groups"]
        return [Rule(row["name"], row.get("lastError", "")) for group in groups for row in group["rules"]]

    def wait_until_scraped(self) -> None:
        """Until every target has answered."""
        eventually(lambda: {one.health for one in self.targets()} == {"up"}, f"scrapes of {self.targets()}")

    def _data(self, question: str, **words: str) -> Any:
        request = urllib.request.Request(f"{self.url}/api/v1/{question}?{urllib.parse.urlencode(words)}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RefusedError(f"{words or question}: {error.read().decode()}") from None


@contextmanager
def prometheus(
    folder: Path,
    targets: Mapping[str, Sequence[str]],
    *,
    rules: Sequence[Path] = (),
    scrape_seconds: float = 1.0,
    honor_labels_of: Collection[str] = (),
) -> Iterator[Prometheus]:
    """Runs Prometheus until the end of the block; its configuration, data and log lie in `folder`.

    `targets` are addresses (host:port) by job; rules are evaluated as often as targets are scraped. The labels of jobs
    in `honor_labels_of` win over those of the scrape, as a Pushgateway's have to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    interval = f"{round(1000 * scrape_seconds)}ms"
    configuration = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(file.resolve()) for file in rules],
        "scrape_configs": [
            {
                "job_name": job,
                "honor_labels": job in honor_labels_of,
                "static_configs": [{"targets": list(addresses)}],
            }
            for job, addresses in targets.items()
        ],
    }
    # JSON is YAML.
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(configuration, indent=2))
    words = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    with _running("prometheus", "prometheus", folder, *words) as url:
        yield Prometheus(url)


@contextmanager
def pushgateway(folder: Path) -> Iterator[str]:
    """Runs a Pushgateway until the end of the block, and gives its URL; its log lies in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    # By default Debian's keeps what it was pushed under /var/lib.
    with _running("prometheus-pushgateway", "prometheus-pushgateway", folder, "--persistence.file=") as url:
        yield url


@contextmanager
def _running(binary: str, package: str, folder: Path, *words: str) -> Iterator[str]:
    path = shutil.which(binary)
    if path is None:
        raise FileNotFoundError(f"{binary} is not on PATH: install Debian's package {package}")
    address = f"127.0.0.1:{free_port()}"
    log = folder / f"{binary}.log"
    with log.open("wb") as lines:
        command = [path, f"--web.listen-address={address}", *words]
        process = subprocess.Popen(command, cwd=folder, stdout=lines, stderr=lines)
    try:
        eventually(lambda: _is_ready(address, process, log), f"{binary} to be ready")
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def _is_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"it ended by itself: {log.read_text()}"
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
