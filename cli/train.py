"""train: fits a model, logs it, registers it as candidate."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cli.console import Steps, err, out, table
from cli.models import MODELS
from features.project import load_project
from model_registry.mlflow_registry import MlflowRegistry
from training.core.errors import TrainingError
from training.core.job import train as train_model
from training.core.tracking import MlflowTracker

if TYPE_CHECKING:
    import argparse

    from features.project import Project
    from model_registry.evidence import Interval
    from training.core.job import TrainingResult


def train(options: argparse.Namespace) -> int:
    """Exit status 1 if a model could not be trained; `all` trains the others all the same."""
    project = load_project(options.project)
    if options.model != "all":
        _train(options.model, project, options)
        return 0
    status = 0
    for model in MODELS:
        try:
            _train(model, project, options)
        except TrainingError as error:
            err.print(f"[red]{model} was not trained:[/] {error}")
            status = 1
    return status


def _train(model: str, project: Project, options: argparse.Namespace) -> None:
    steps = Steps()
    steps(f"training {model} for {project.name}")
    pipeline = importlib.import_module(f"training.{model}.pipeline").PIPELINE
    uri = project.registry.tracking_uri
    result = train_model(
        pipeline, project, MlflowRegistry(uri), MlflowTracker(uri), as_of=options.as_of, progress=steps
    )
    _report(model, result)


def _report(model: str, result: TrainingResult) -> None:
    window = result.window
    out.print(
        f"{model} version {result.version.version} is the candidate: trained on {result.training_rows:,} rows of "
        f"snapshots {window.first_snapshot} to {window.last_snapshot}, tested on {result.test_rows:,} of "
        f"{window.test_snapshot}, horizon {result.horizon_days} days"
    )
    rows = [
        (name, str(interval), *(_estimate(metrics.get(name)) for metrics in result.others.values()))
        for name, interval in result.metrics.items()
    ]
    table("on the test snapshot", ("figure", f"{model} [95 % interval]", *result.others), rows)
    for comparison in (*result.baselines, *((result.champion,) if result.champion else ())):
        out.print(f"{comparison.metric} above {comparison.other}: {comparison.difference}")
    for warning in result.warnings:
        err.print(f"[yellow]warning:[/] {warning}")
    out.print(f"next: regulars promote {model} --dry-run")


def _estimate(interval: Interval | None) -> str:
    return f"{interval.estimate:.4f}" if interval else ""
