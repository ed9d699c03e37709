"""An MLflow server as `regulars mlflow` runs it, for tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]

START_SECONDS = 4 * PATIENCE_SECONDS
"""It imports for seconds, twice, and makes its tables one by one."""

PROJECT = """
[project]
name = "Corner shop"

[tables.transactions]
source = "orders.csv"
customer = "who"
time = "paid_at"
amount = "amount"
"""


@dataclass
class TrackingServer:
    """The command, and the processes that it has started."""

    process: subprocess.Popen[bytes]
    uri: str
    started: list[psutil.Process]

    def kill(self) -> int:
        """Kills what answers requests, as a machine short of memory would; the command's status."""
        self.started[-1].kill()
        return self.process.wait(PATIENCE_SECONDS)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)

    def left_behind(self) -> list[psutil.Process]:
        return [one for one in self.started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def write_project(folder: Path) -> Path:
    project = folder / "regulars.toml"
    project.write_text(PROJECT)
    return project


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def tracking_server(project: Path, port: int, *words: str) -> Iterator[TrackingServer]:
    """Runs `regulars mlflow` until the end of the block."""
    command = [sys.executable, "-m", "cli.main", "mlflow", "--project", str(project), "--port", str(port), *words]
    log = (project.parent / "mlflow.log").open("ab")
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    uri = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(uri, process), "MLflow to answer", START_SECONDS)
        yield TrackingServer(process, uri, psutil.Process(process.pid).children(recursive=True))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
        log.close()


def _answers(uri: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the server ended by itself: see mlflow.log"
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
