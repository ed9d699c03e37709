"""up: syncs and serves every model that has a champion, on this machine."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from rich.markup import escape

from cli.console import err, out, table
from cli.demands import allows_unaudited
from cli.errors import CommandError
from cli.models import MODELS
from cli.sync_page import show_metrics
from features.project import load_project
from model_registry.bundle import BundleError
from model_registry.mlflow_registry import MlflowRegistry
from model_registry.registry import CHAMPION, RegistryError
from model_registry.release import read_release
from model_registry.sync import follow, sync_once
from model_registry.sync_metrics import Following
from services.core import logs
from services.core.child import start_child
from services.core.service import load_service
from services.core.stop_signal import StopSignal

if TYPE_CHECKING:
    import argparse
    import subprocess
    from pathlib import Path

    from model_registry.registry import Registry

METRICS_PORT_OFFSET = 1000
"""Where a model's metrics are: its port plus this."""

LOOPBACK = "127.0.0.1"

LOOK_SECONDS = 0.5


def up(options: argparse.Namespace) -> int:
    """Runs until SIGTERM or Ctrl-C; exit status 1 if a server ends by itself."""
    project = load_project(options.project)
    registry = MlflowRegistry(project.registry.tracking_uri, must_exist=True)
    bundles = project.registry.bundles
    allow_unaudited = allows_unaudited(project)
    ready = _prepare(registry, bundles, allow_unaudited=allow_unaudited)
    absent = [model for model in MODELS if model not in ready]
    if not ready:
        raise CommandError("no model has a champion yet; run 'regulars train all', then 'regulars promote MODEL'")
    logs.configure("INFO")
    followings = [Following(model, CHAMPION) for model in ready]
    if options.sync_metrics_port is not None:
        show_metrics(LOOPBACK, options.sync_metrics_port, *followings)
    stop = StopSignal()
    stopped = threading.Event()
    followers = [
        threading.Thread(
            target=follow,
            args=(registry, model, CHAMPION, bundles, stopped.wait),
            kwargs={"allow_unaudited": allow_unaudited, "following": following},
            # A registry that hangs must not hold the end.
            daemon=True,
        )
        for model, following in zip(ready, followings, strict=True)
    ]
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for model in ready:
            servers[model] = _start(model, bundles)
        for follower in followers:
            follower.start()
        table("serving", ("model", "gRPC", "metrics"), [_addresses(model) for model in ready])
        if absent:
            out.print(f"without a champion, and not served: {', '.join(absent)}")
        out.print("Ctrl-C stops them")
        return _wait(servers, stop)
    finally:
        stopped.set()
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait()


def _prepare(registry: Registry, bundles: Path, *, allow_unaudited: bool) -> list[str]:
    """Syncs the models that have a champion, and names them; where the registry fails, those released here before."""
    try:
        ready = [model for model in MODELS if registry.resolve(model, CHAMPION) is not None]
    except RegistryError as error:
        released = [model for model in MODELS if read_release(bundles, model) is not None]
        if not released:
            raise
        err.print(f"[yellow]serving what was released last:[/] {escape(str(error))}")
        return released
    for model in ready:
        _sync(registry, model, bundles, allow_unaudited=allow_unaudited)
    return ready


def _sync(registry: Registry, model: str, bundles: Path, *, allow_unaudited: bool) -> None:
    """A champion that cannot be had is no reason to serve nothing where the last release still is."""
    try:
        sync_once(registry, model, CHAMPION, bundles, allow_unaudited=allow_unaudited)
    except (RegistryError, BundleError, OSError) as error:
        last = read_release(bundles, model)
        if last is None:
            raise
        err.print(f"[yellow]{model} stays at version {last.version}:[/] {escape(str(error))}")


def _start(model: str, bundles: Path) -> subprocess.Popen[bytes]:
    port = load_service(model).PORT
    own = {
        "REGULARS_BUNDLES": str(bundles),
        "REGULARS_PORT": str(port),
        "REGULARS_METRICS_PORT": str(port + METRICS_PORT_OFFSET),
    }
    return start_child(model, environment={**os.environ, **own})


def metrics_page(model: str) -> str:
    """Where the model's server tells what it serves."""
    return f"http://127.0.0.1:{load_service(model).PORT + METRICS_PORT_OFFSET}/metrics"


def _addresses(model: str) -> tuple[str, str, str]:
    return model, f"127.0.0.1:{load_service(model).PORT}", metrics_page(model)


def _wait(servers: dict[str, subprocess.Popen[bytes]], stop: StopSignal) -> int:
    while not stop.wait(LOOK_SECONDS):
        for model, server in servers.items():
            if server.poll() is not None:
                out.print(f"the {model} server ended by itself with status {server.returncode}; its log is above")
                return 1
    return 0
