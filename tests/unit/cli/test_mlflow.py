"""`regulars mlflow`: how MLflow is started, and that nothing of it stays. The real one runs in integration tests."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

import psutil
import pytest

from cli import mlflow as command
from cli.errors import CommandError
from features.project import load_project
from tests.support.polling import eventually
from tests.support.tracking import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "postgresql://ann:s3cret@db/mlflow"


def options(project: Path, **changes: object) -> Namespace:
    usual = {"backend": "", "artifacts": "", "host": "127.0.0.1", "port": 5000, "allowed_hosts": ""}
    return Namespace(**{**usual, "project": project, **changes})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    file = tmp_path / "regulars.toml"
    file.write_text(PROJECT)
    return file


def test_it_serves_files_for_its_clients_with_one_process_and_no_jobs(project: Path) -> None:
    words = command._command(options(project, port=5001), "/files")
    assert words[1:4] == ["-m", "mlflow", "server"]
    assert words[words.index("--artifacts-destination") + 1] == "/files"
    assert "--serve-artifacts" in words
    assert words[words.index("--workers") + 1] == "1"
    environment = command._environment(options(project), "sqlite:///here.db")
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_a_password_is_not_told_to_everybody_on_the_machine(project: Path) -> None:
    asked = options(project, backend=SECRET)
    assert "s3cret" not in " ".join(command._command(asked, "/files"))
    backend = command._environment(asked, SECRET)["MLFLOW_BACKEND_STORE_URI"]
    assert backend == "postgresql+psycopg2://ann:s3cret@db/mlflow"


def test_the_environment_may_name_the_database(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "told"
    tell = f"import os, pathlib; pathlib.Path(r'{told}').write_text(os.environ['{command.BACKEND_VARIABLE}'])"
    monkeypatch.setattr(command, "_command", lambda options, artifacts: [sys.executable, "-c", tell])
    monkeypatch.setenv(command.BACKEND_VARIABLE, SECRET)
    with pytest.raises(CommandError, match="ended by itself"):
        command.mlflow(options(project))
    assert told.read_text() == SECRET.replace("postgresql:", "postgresql+psycopg2:")


def test_a_driver_that_is_named_is_left_alone(project: Path) -> None:
    environment = command._environment(options(project), "postgresql+psycopg://db/mlflow")
    assert environment["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://db/mlflow"


def test_names_are_allowed_beside_those_of_this_machine(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_SERVER_ALLOWED_HOSTS", raising=False)
    # MLflow's own list: this machine and private addresses.
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" not in command._environment(options(project), "")
    environment = command._environment(options(project, allowed_hosts="mlflow, mlflow.shop.svc"), "")
    assert environment["MLFLOW_SERVER_ALLOWED_HOSTS"] == (
        "localhost,localhost:*,127.0.0.1,127.0.0.1:*,mlflow,mlflow:*,mlflow.shop.svc,mlflow.shop.svc:*"
    )


def test_the_database_and_the_files_are_the_projects(project: Path) -> None:
    database = command._database(load_project(project))
    assert database == f"sqlite:///{project.parent}/.regulars/mlflow.db"
    assert command._artifacts(load_project(project), database) == project.parent / ".regulars" / "artifacts"
    assert command._artifacts(load_project(project), SECRET) == project.parent / ".regulars" / "artifacts"


def test_a_project_whose_registry_is_this_server_has_its_database_in_the_usual_place(project: Path) -> None:
    project.write_text(f'{PROJECT}[registry]\ntracking_uri = "http://127.0.0.1:5000"\n')
    assert command._database(load_project(project)) == f"sqlite:///{project.parent}/.regulars/mlflow.db"


def test_a_server_that_ends_by_itself_is_an_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_command", lambda options, artifacts: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(CommandError, match="ended by itself with status 3; its log is above"):
        command.mlflow(options(project))


STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def test_nothing_stays_behind_even_if_it_does_not_want_to_end(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = tmp_path / "pid"

    class Stop:
        def wait(self, seconds: float) -> bool:
            eventually(lambda: told.exists() and told.read_text() != "", "the stubborn one to have a child")
            return True

    monkeypatch.setattr(command, "StopSignal", Stop)
    monkeypatch.setattr(command, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(command, "_command", lambda options, artifacts: [sys.executable, "-c", STUBBORN, str(told)])
    assert command.mlflow(options(project)) == 0
    child = int(told.read_text())
    eventually(lambda: not psutil.pid_exists(child) or _has_ended(child), "the child to be gone")


def _has_ended(pid: int) -> bool:
    # Where nobody collects it, a process that has ended stays listed.
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
