"""A business of its own, driven through the `regulars` command alone, from its tables to a rollback."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from cli.main import main
from cli.up import METRICS_PORT_OFFSET
from services.churn.servicer import PORT
from services.client import CallError, ChurnClient
from tests.support.polling import eventually
from tests.support.server import ServerProcess
from tests.support.shop import open_shop

if TYPE_CHECKING:
    from collections.abc import Iterator

REGULARS = [sys.executable, "-m", "cli.main"]
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Business:
    folder: Path

    def __call__(self, *words: object, fails: bool = False) -> str:
        """What the command prints, on either stream. In this process, which imports MLflow once and not each time."""
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            status = main([*map(str, words), "--project", str(self.folder / "regulars.toml")])
        assert (status != 0) == fails, said.getvalue()
        assert "Traceback" not in said.getvalue()
        return said.getvalue()

    @contextmanager
    def serving(self) -> Iterator[ServerProcess]:
        with self.running("serve", "churn", "--bundles", self.folder / "bundles", "--port", 0) as server:
            yield server

    @contextmanager
    def running(self, *words: object) -> Iterator[ServerProcess]:
        """A command that runs until it is told to stop, and then says that all is well."""
        process = subprocess.Popen(
            [*REGULARS, *map(str, words)], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        server = ServerProcess(process)
        try:
            yield server
            server.terminate()
            assert server.wait() == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def business(tmp_path_factory: pytest.TempPathFactory) -> Business:
    folder = tmp_path_factory.mktemp("shop")
    open_shop(folder)
    return Business(folder)


def test_from_tables_to_a_rollback(business: Business) -> None:
    folder = business.folder
    customers, bundles = folder / "customers.parquet", folder / "bundles"
    business("features", "build", "--as-of", "2024-05-01", "--out", customers)
    for words in (("promote", "churn"), ("sync", "churn@champion", "--to", bundles), ("models",)):
        assert "there is no registry" in business(*words, fails=True)

    assert "version 1 is the candidate" in business("train", "churn", "--as-of", "2024-05-01")
    assert "carries the alias champion" in business("sync", "churn@champion", "--to", bundles, fails=True)
    assert "nothing was moved" in business("promote", "churn", "--dry-run")
    assert "champion" not in business("models")
    assert "version 1 is champion" in business("promote", "churn")
    assert "version 1" in business("sync", "churn@champion", "--to", bundles)
    assert "up to date" in business("sync", "churn@champion", "--to", bundles)

    with business.serving() as server, ChurnClient(f"127.0.0.1:{server.port}") as client:
        served = client.get_model()
        assert served.model.training_window.test_snapshot == "2024-04-01"

        target = f"127.0.0.1:{server.port}"
        business("score", "churn", "--input", customers, "--output", folder / "remote", "--target", target)
        business("score", "churn", "--input", customers, "--output", folder / "local", "--bundles", bundles)
        said = business("score", "churn", "--as-of", "2024-05-01", "--output", folder / "built", "--bundles", bundles)
        assert "building features as of 2024-05-01" in said
        remote, local, built = (pq.read_table(folder / name) for name in ("remote", "local", "built"))
        assert remote.equals(local)
        assert built.equals(local)
        assert remote.column("customer_id").equals(pq.read_table(customers).column("customer_id"))
        assert set(remote.column("churn_status").to_pylist()) == {"OK", "INACTIVE"}

        assert "version 2 is the candidate" in business("train", "all", "--as-of", "2024-05-01")
        business("promote", "churn")
        business("sync", "churn@champion", "--to", bundles)
        eventually(lambda: client.get_model().model_version.version == "2", "version 2 to be served")

        assert "version 1 is champion again" in business("rollback", "churn")
        business("sync", "churn@champion", "--to", bundles)
        eventually(lambda: client.get_model().model_version.version == "1", "version 1 to be served again")
    listed = business("models")
    assert "champion" in next(line for line in listed.splitlines() if line.split()[:2] == ["churn", "1"])
    assert "previous" in next(line for line in listed.splitlines() if line.split()[:2] == ["churn", "2"])


def test_a_history_that_is_too_short_is_refused_with_figures(business: Business) -> None:
    assert "needs 90" in business("train", "churn", "--as-of", "2023-02-01", fails=True)


def test_up_serves_the_champion_and_leaves_nothing_behind(business: Business) -> None:
    for port in (PORT, PORT + METRICS_PORT_OFFSET):
        if is_taken(port):
            pytest.skip(f"port {port}, which 'regulars up' needs, is taken")
    if "champion" not in business("models"):
        business("train", "churn", "--as-of", "2024-05-01")
        business("promote", "churn")

    with business.running("up", "--project", business.folder / "regulars.toml") as suite:
        suite.wait_for("listening")
        with ChurnClient(f"127.0.0.1:{PORT}") as client:
            served = eventually(lambda: champion_of(client), "the champion to be served")
        assert any(
            "champion" in line and line.split()[:2] == ["churn", served] for line in business("models").splitlines()
        )
        assert "regulars_model_info" in suite.metrics()
    assert not is_taken(PORT)
    assert not is_taken(PORT + METRICS_PORT_OFFSET)


def champion_of(client: ChurnClient) -> str | None:
    """The served version, once there is one."""
    try:
        return client.get_model().model_version.version
    except CallError:
        return None


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
