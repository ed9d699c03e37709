"""train: fits models, logs them, registers them as candidates."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.markup import escape

from cli.console import Steps, err, out, table
from cli.errors import expected_errors
from cli.models import MODELS
from features.errors import TooLittleError
from features.project import load_project
from model_registry.mlflow_registry import MlflowRegistry
from training.core.artifacts import CARD_FILE
from training.core.errors import NotEligibleError
from training.core.job import train as train_model
from training.core.tracking import MlflowTracker

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from features.project import Project
    from model_registry.evidence import Interval, Requirement
    from training.core.job import TrainingResult

TRAINED, NOT_ELIGIBLE, FAILED = "trained", "not eligible", "failed"


@dataclass(frozen=True)
class Attempt:
    """What came of one model: `verdict`, and in `account` its version, or why there is none."""

    model: str
    verdict: str
    account: str
    grade: str = ""


def train(options: argparse.Namespace) -> int:
    """Trains one model, or with `all` each that the business has enough data for.

    A business may lack for good what a model is learnt from, so `all` ends with status 0 where something was trained
    and nothing but that kept the others back. Status 1: nothing was trained, or a model failed for any other reason.
    """
    project = load_project(options.project)
    if options.model != "all":
        _train(options.model, project, options)
        return 0
    attempts = [_attempt(model, project, options) for model in MODELS]
    table("what came of each", ("model", "outcome", "grade"), map(_row, attempts))
    verdicts = {attempt.verdict for attempt in attempts}
    return 0 if TRAINED in verdicts and FAILED not in verdicts else 1


def _attempt(model: str, project: Project, options: argparse.Namespace) -> Attempt:
    try:
        result = _train(model, project, options)
    except (NotEligibleError, TooLittleError) as error:
        return Attempt(model, NOT_ELIGIBLE, str(error))
    except expected_errors() as error:
        err.print(f"[red]{model} was not trained:[/] {escape(str(error))}")
        return Attempt(model, FAILED, str(error))
    return Attempt(model, TRAINED, f"version {result.version.version}", result.evidence.grade)


def _row(attempt: Attempt) -> tuple[str, str, str]:
    outcome = attempt.account if attempt.verdict == TRAINED else f"{attempt.verdict}: {attempt.account}"
    return attempt.model, escape(outcome), attempt.grade


def _train(model: str, project: Project, options: argparse.Namespace) -> TrainingResult:
    steps = Steps()
    steps(f"training {model} for {project.name}")
    pipeline = importlib.import_module(f"training.{model}.pipeline").PIPELINE
    uri = project.registry.tracking_uri
    result = train_model(
        pipeline, project, MlflowRegistry(uri), MlflowTracker(uri), as_of=options.as_of, progress=steps
    )
    _report(model, result)
    return result


def _report(model: str, result: TrainingResult) -> None:
    out.print(f"{model} version {result.version.version} is the candidate: {_parts(result)}")
    rows = [
        (escape(name), str(interval), *(_estimate(metrics.get(name)) for metrics in result.others.values()))
        for name, interval in result.metrics.items()
    ]
    table("on the test part", ("figure", f"{model} [95 % interval]", *result.others), rows)
    for comparison in (*result.baselines, *((result.champion,) if result.champion else ())):
        out.print(escape(f"{comparison.metric} above {comparison.other}: {comparison.difference}"))
    for line in _requirements(result.evidence.requirements):
        out.print(escape(line))
    out.print(f"grade: {result.evidence.grade}")
    for warning in result.warnings:
        err.print(f"[yellow]warning:[/] {escape(warning)}")
    err.print(f"report: {CARD_FILE} of run {result.version.run_id}", markup=False)
    out.print(f"next: regulars promote {model} --dry-run")


def _parts(result: TrainingResult) -> str:
    """What trained and what tested."""
    window, training, test = result.window, f"{result.training_rows:,}", f"{result.test_rows:,}"
    if not window.test_snapshot:
        return f"trained on {training} customers, tested on {test} others; there is no time axis"
    horizon = f", horizon {result.horizon_days} days" if result.horizon_days else ""
    if window.last_snapshot == window.test_snapshot:
        return f"trained on {training} customers of {window.test_snapshot}, tested on {test} others{horizon}"
    return (
        f"trained on {training} rows of snapshots {window.first_snapshot} to {window.last_snapshot}, "
        f"tested on {test} of {window.test_snapshot}{horizon}"
    )


def _requirements(requirements: Iterable[Requirement]) -> Iterable[str]:
    for one in requirements:
        limits = (
            f"at least {one.low:g}" if one.low is not None else "",
            f"at most {one.high:g}" if one.high is not None else "",
        )
        needed = " and ".join(limit for limit in limits if limit)
        yield f"{one.metric} {one.figure:.4f}, needed {needed}: {'met' if one.passed else 'not met'}"


def _estimate(interval: Interval | None) -> str:
    return f"{interval.estimate:.4f}" if interval else ""
