"""How long all four models take from tables to registered candidates, and in which steps."""

from __future__ import annotations

import datetime as dt
import importlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.features import PROJECT
from benchmarks.harness import Figure
from cli.models import MODELS
from features.project import load_project
from model_registry.mlflow_registry import MlflowRegistry
from training.core.job import train
from training.core.tracking import MlflowTracker

if TYPE_CHECKING:
    from training.core.job import TrainingResult

AS_OF = dt.date(2017, 12, 1)
NAMED_STEPS = 3


def measure() -> list[Figure]:
    """One training of each, on Complete Journey, into a new database; imports and the first migration included."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
        began = time.perf_counter()
        parts = [_measure(model, uri) for model in MODELS]
        whole = time.perf_counter() - began
    return [Figure("train all on Complete Journey", whole, "s", bar="< 180 s", note="two cores, one run"), *parts]


def _measure(model: str, uri: str) -> Figure:
    project = load_project(PROJECT)
    project = replace(project, registry=replace(project.registry, tracking_uri=uri))
    pipeline = importlib.import_module(f"training.{model}.pipeline").PIPELINE
    began = time.perf_counter()
    result = train(pipeline, project, MlflowRegistry(uri), MlflowTracker(uri), as_of=AS_OF)
    return Figure(model, time.perf_counter() - began, "s", note=_longest_steps(result))


def _longest_steps(result: TrainingResult) -> str:
    steps = sorted(result.seconds.items(), key=lambda step: -step[1])[:NAMED_STEPS]
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps)
