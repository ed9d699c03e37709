"""promote, rollback, models, sync: what happens between training and serving."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.console import Steps, out, table
from cli.errors import CommandError
from cli.models import MODELS
from features.project import load_project
from model_registry.mlflow_registry import MlflowRegistry, without_password
from model_registry.promotion import promote as promote_version
from model_registry.promotion import rollback as roll_back
from model_registry.sync import follow, sync_once
from services.core import logs
from services.core.stop_signal import StopSignal

if TYPE_CHECKING:
    import argparse

    from model_registry.promotion import Gate
    from model_registry.registry import RegisteredVersion, Registry


def promote(options: argparse.Namespace) -> int:
    """Exit status 1 when a gate fails; then no alias has moved."""
    promotion = promote_version(_open(options), options.model, options.version, dry_run=options.dry_run)
    version = promotion.version
    table(f"{options.model} version {version.version}", ("gate", "limit", "figure", "verdict"), _rows(promotion.gates))
    if promotion.moved:
        out.print(f"{options.model} version {version.version} is champion; servers that follow it swap within seconds")
    elif promotion.passed:
        out.print("every gate passes; nothing was moved (dry run)")
    else:
        out.print("a gate fails; no alias was moved")
    return 0 if promotion.passed else 1


def rollback(options: argparse.Namespace) -> int:
    version = roll_back(_open(options), options.model)
    out.print(f"{options.model} version {version.version} is champion again")
    return 0


def models(options: argparse.Namespace) -> int:
    registry = _open(options)
    rows = [_describe(version) for model in MODELS for version in registry.versions(model)]
    if rows:
        table("models", ("model", "version", "alias", "auc", "brier", "bundle", "age"), rows)
    else:
        out.print("no model is registered yet; run 'regulars train all'")
    return 0


def sync(options: argparse.Namespace) -> int:
    model, _, alias = options.target.partition("@")
    if not alias:
        raise CommandError(f"{options.target} is not MODEL@ALIAS; for example {MODELS[0]}@champion")
    if model not in MODELS:
        raise CommandError(f"there is no model {model}; there are {', '.join(MODELS)}")
    registry = _open(options)
    if options.watch:
        logs.configure("INFO")
        follow(registry, model, alias, options.to, StopSignal().wait)
        return 0
    release = sync_once(registry, model, alias, options.to)
    if release is None:
        out.print(f"{options.to} is up to date with {options.target}")
    else:
        out.print(f"{options.to} now holds {model} version {release.version} (bundle {release.digest[:12]})")
    return 0


def _open(options: argparse.Namespace) -> Registry:
    uri = options.registry or load_project(options.project).registry.tracking_uri
    Steps()(f"registry {without_password(uri)}")
    return MlflowRegistry(uri)


def _rows(gates: tuple[Gate, ...]) -> list[tuple[str, str, str, str]]:
    return [(gate.name, gate.limit, gate.figure, "[green]pass[/]" if gate.passed else "[red]FAIL[/]") for gate in gates]


def _describe(version: RegisteredVersion) -> tuple[str, ...]:
    figures = (f"{version.metrics[name]:.3f}" if name in version.metrics else "" for name in ("auc", "brier"))
    age = datetime.now(UTC) - version.created_at
    aliases = ", ".join(version.aliases)
    return (version.name, version.version, aliases, *figures, version.digest[:12], _ago(age.total_seconds()))


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
