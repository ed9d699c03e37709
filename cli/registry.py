"""promote, rollback, models, sync: what happens between training and serving."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from rich.markup import escape

from cli.console import Steps, err, out, table
from cli.demands import allows_unaudited, demands_of
from cli.errors import CommandError
from cli.models import MODELS
from cli.sync_page import show_metrics
from cli.up import metrics_page
from cli.waiting import metrics_pages, wait_until_served
from features.project import load_project
from model_registry.clearance import audit_verdict, is_cleared, waived_until, waiver_has_expired
from model_registry.gates import CALLERS, Override
from model_registry.mlflow_registry import MlflowRegistry, without_password
from model_registry.promotion import promote as promote_version
from model_registry.promotion import rollback as roll_back
from model_registry.promotion import user
from model_registry.release import SHOWN_DIGITS
from model_registry.sync import follow, sync_once
from model_registry.sync_metrics import Following
from services.core import logs
from services.core.stop_signal import StopSignal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from features.project import Project
    from model_registry.gates import Gate
    from model_registry.registry import RegisteredVersion, Registry

DECIDING = {"churn": "auc", "propensity": "auc", "cltv": "gini", "clustering": "silhouette"}
"""The metric that a model is decided by."""


LOOK_SECONDS = 0.5

LOOPBACK = "127.0.0.1"

NOT_SERVED = 3
"""Exit status: the aliases have moved, and a server has not followed in time."""


def promote(options: argparse.Namespace) -> int:
    """Exit status 1 when a gate fails; then nothing has changed. `NOT_SERVED` when servers do not follow in time."""
    overrides = _overrides(options)
    pages = _pages(options)
    project = _project(options)
    promotion = promote_version(
        _open(options),
        options.model,
        options.version,
        demands=demands_of(project) if project else None,
        overrides=overrides,
        dry_run=options.dry_run,
    )
    version = promotion.version
    title = f"{options.model} version {version.version}" + (f", grade: {promotion.grade}" if promotion.grade else "")
    table(title, ("gate", "limit", "figure", "verdict"), _rows(promotion.gates))
    if not promotion.passed:
        # Once more on a line of its own: what is to be done is copied from here.
        for gate in promotion.gates:
            if not gate.opens:
                out.print(escape(f"{gate.name}: {gate.figure}"))
        out.print("a gate fails; nothing has changed")
        return 1
    if not promotion.moved:
        out.print("every gate lets it through; nothing was moved (dry run)")
        return 0
    out.print(f"{options.model} version {version.version} is champion; servers that follow it swap within seconds")
    return _follow_up(version, pages, options)


def rollback(options: argparse.Namespace) -> int:
    """Exit status `NOT_SERVED` when servers do not follow in time."""
    pages = _pages(options)
    version = roll_back(_open(options), options.model)
    out.print(f"{options.model} version {version.version} is champion again")
    if not is_cleared(version):
        err.print(
            f"[yellow]warning:[/] no promotion let version {version.version} through and it has passed no audit; "
            f"followers that demand one refuse it until 'regulars promote {version.name} --version {version.version}'"
        )
    return _follow_up(version, pages, options)


def models(options: argparse.Namespace) -> int:
    registry = _open(options)
    rows = [_describe(version) for model in MODELS for version in registry.versions(model)]
    if rows:
        table("models", ("model", "version", "alias", "figure", "grade", "fairness", "age"), rows)
    else:
        out.print("no model is registered yet; run 'regulars train all'")
    return 0


def sync(options: argparse.Namespace) -> int:
    model, _, alias = options.target.partition("@")
    if not alias:
        raise CommandError(f"{options.target} is not MODEL@ALIAS; for example {MODELS[0]}@champion")
    if model not in MODELS:
        raise CommandError(f"there is no model {model}; there are {', '.join(MODELS)}")
    if options.metrics_port is not None and not options.watch:
        raise CommandError("--metrics-port shows how a follower fares, and a single sync is none; add --watch")
    if options.host is not None and options.metrics_port is None:
        raise CommandError("--host is where /metrics listens; add --metrics-port")
    allow_unaudited = options.allow_unaudited or _allows_unaudited(options)
    registry = _open(options)
    if options.watch:
        following = Following(model, alias)
        logs.configure("INFO")
        if options.metrics_port is not None:
            show_metrics(options.host or LOOPBACK, options.metrics_port, following)
        arguments = (registry, model, alias, options.to)
        return _watch(partial(follow, *arguments, allow_unaudited=allow_unaudited, following=following))
    release = sync_once(registry, model, alias, options.to, allow_unaudited=allow_unaudited)
    if release is None:
        out.print(f"{options.to} is up to date with {options.target}")
    else:
        out.print(f"{options.to} now holds {model} version {release.version} (bundle {release.digest[:SHOWN_DIGITS]})")
    return 0


def _watch(follow_until: Callable[[Callable[[float], bool]], None]) -> int:
    """Follows until SIGTERM or Ctrl-C, and then ends at once, though a registry that hangs may hold the follower.

    What it leaves in the folder is swept by the next sync.
    """
    stop, stopped = StopSignal(), threading.Event()
    follower = threading.Thread(target=follow_until, args=(stopped.wait,), daemon=True)
    follower.start()
    while follower.is_alive():
        if stop.wait(LOOK_SECONDS):
            stopped.set()
            return 0
    return 1


def _project(options: argparse.Namespace) -> Project | None:
    """None where a registry is named and there is no project: what is demanded is then the strictest."""
    return None if options.registry and not options.project.exists() else load_project(options.project)


def _open(options: argparse.Namespace) -> Registry:
    uri = options.registry or load_project(options.project).registry.tracking_uri
    Steps()(f"registry {without_password(uri)}")
    return MlflowRegistry(uri, must_exist=True)


def _allows_unaudited(options: argparse.Namespace) -> bool:
    project = _project(options)
    return project is not None and allows_unaudited(project)


def _overrides(options: argparse.Namespace) -> list[Override]:
    """The gates that somebody answers for.

    Raises:
        CommandError: nobody does, or no reason is given.
    """
    if options.override and not (options.by.strip() and options.reason.strip()):
        raise CommandError("--override needs --by NAME and --reason TEXT, which are kept with the version")
    overrides = [Override(gate, options.by, options.reason) for gate in options.override]
    if options.accept_break:
        overrides.append(Override(CALLERS, options.by or user(), options.reason or "accepted by --accept-break"))
    return overrides


def _pages(options: argparse.Namespace) -> tuple[str, ...]:
    """The metrics pages to wait for; those of `regulars up` where none is named, and none where nobody waits."""
    if options.wait is None:
        return ()
    if getattr(options, "dry_run", False):
        raise CommandError("--dry-run moves nothing, so there is nothing to --wait for; leave one of them out")
    return metrics_pages(options.wait) or (metrics_page(options.model),)


def _follow_up(version: RegisteredVersion, pages: tuple[str, ...], options: argparse.Namespace) -> int:
    """Waits for the servers behind the pages, if there are any."""
    lacking = wait_until_served(version, pages, options.wait_seconds, Steps())
    for page, state in lacking.items():
        err.print(f"[red]{page} {escape(state)}[/]")
    if lacking:
        err.print(
            f"{version.name} version {version.version} is champion, and {len(lacking)} of {len(pages)} servers do not "
            f"serve it after {options.wait_seconds:g} s: see their logs and those of 'regulars sync'"
        )
        return NOT_SERVED
    if pages:
        out.print(f"{len(pages)} of {len(pages)} servers serve {version.name} version {version.version}")
    return 0


def _rows(gates: tuple[Gate, ...]) -> list[tuple[str, ...]]:
    return [(*map(escape, (gate.name, gate.limit, gate.figure)), _verdict(gate)) for gate in gates]


def _verdict(gate: Gate) -> str:
    colour = "green" if gate.passed else "yellow" if gate.override else "red"
    return f"[{colour}]{escape(gate.verdict)}[/]"


def _describe(version: RegisteredVersion) -> tuple[str, ...]:
    metric = DECIDING[version.name]
    figure = f"{metric} {version.metrics[metric]:.3f}" if metric in version.metrics else ""
    age = _ago((datetime.now(UTC) - version.created_at).total_seconds())
    aliases = ", ".join(version.aliases)
    return version.name, version.version, aliases, figure, version.grade, _fairness(version), age


def _fairness(version: RegisteredVersion) -> str:
    """What its fairness audit came to, and whether that hangs on a waiver today."""
    verdict = audit_verdict(version) or "not audited"
    return f"{verdict}, waived" if waived_until(version) and not waiver_has_expired(version) else verdict


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
