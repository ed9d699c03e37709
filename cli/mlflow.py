"""mlflow: a tracking server for the project, with settings that suit it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING

from cli.console import Steps, out
from cli.errors import CommandError
from features.project import load_project
from model_registry.mlflow_registry import SQLITE, database_folder, without_password
from services.core.stop_signal import StopSignal

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from features.project import Project

PROJECT_FOLDER = ".regulars"
LOOK_SECONDS = 0.2
GRACE_SECONDS = 10.0

SETTINGS = {
    # Its job runner is for judging language models; without it a server is two processes instead of ten.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

BACKEND_VARIABLE = "MLFLOW_BACKEND_STORE_URI"

LOCAL = ("localhost", "127.0.0.1")
POSTGRESQL = "postgresql://"


def mlflow(options: argparse.Namespace) -> int:
    """Runs until SIGTERM or Ctrl-C; exit status 1 if the server ends by itself."""
    project = load_project(options.project)
    if importlib.util.find_spec("mlflow") is None:
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")
    backend = options.backend or os.environ.get(BACKEND_VARIABLE) or _database(project)
    if backend.startswith(SQLITE):
        database_folder(backend).mkdir(parents=True, exist_ok=True)
    artifacts = options.artifacts or str(_artifacts(project, backend))
    stop = StopSignal()
    steps = Steps()
    steps(f"database {without_password(backend)}, files in {artifacts}")
    # A session of its own: Ctrl-C reaches this process alone, which then ends the server's.
    server = subprocess.Popen(  # noqa: S603 - MLflow's own command
        _command(options, artifacts), env=_environment(options, backend), start_new_session=True
    )
    try:
        return _wait(server, options, stop)
    finally:
        _end(server)


def _database(project: Project) -> str:
    """The project's own, where its registry is not a server already, perhaps this very one."""
    uri = project.registry.tracking_uri
    return uri if uri.startswith(SQLITE) else f"{SQLITE}{project.folder / PROJECT_FOLDER / 'mlflow.db'}"


def _artifacts(project: Project, backend: str) -> Path:
    folder = database_folder(backend) if backend.startswith(SQLITE) else project.folder / PROJECT_FOLDER
    return folder / "artifacts"


def _command(options: argparse.Namespace, artifacts: str) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", options.host, "--port", str(options.port), "--workers", "1"),
        # Clients send and fetch files through the server, so they need no access to where it keeps them.
        *("--serve-artifacts", "--artifacts-destination", artifacts),
        # Followers ask every few seconds, and each line would say so.
        "--uvicorn-opts=--no-access-log",
    ]


def _environment(options: argparse.Namespace, backend: str) -> dict[str, str]:
    """The database goes by here, because everybody on a machine reads the arguments of its processes."""
    if backend.startswith(POSTGRESQL):
        # The bare name would ask for psycopg 3, and MLflow is made with psycopg2.
        backend = backend.replace(POSTGRESQL, "postgresql+psycopg2://", 1)
    names = [name.strip() for name in options.allowed_hosts.split(",") if name.strip()]
    # What a client writes into its request is the name, and a port unless it is the usual one.
    hosts = ",".join(form for name in (*LOCAL, *names) for form in (name, f"{name}:*")) if names else ""
    allowed = {"MLFLOW_SERVER_ALLOWED_HOSTS": hosts} if hosts else {}
    return {**os.environ, **SETTINGS, **allowed, BACKEND_VARIABLE: backend}


def _wait(server: subprocess.Popen[bytes], options: argparse.Namespace, stop: StopSignal) -> int:
    address = f"http://{LOCAL[1] if options.host == '0.0.0.0' else options.host}:{options.port}"  # noqa: S104 - a comparison
    ready = False
    while not stop.wait(LOOK_SECONDS):
        if server.poll() is not None:
            raise CommandError(f"the MLflow server ended by itself with status {server.returncode}; its log is above")
        if not ready and _answers(address):
            ready = True
            out.print(f"MLflow answers on {address}: let registry.tracking_uri or MLFLOW_TRACKING_URI name it")
            out.print("Ctrl-C stops it")
    return 0


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=LOOK_SECONDS) as answer:  # noqa: S310 - http alone
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except (OSError, HTTPException):
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and the processes that it has started."""
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
