"""What everybody serves: one graph, and customers whose scores are known."""

from __future__ import annotations

import datetime as dt
import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.features import PROJECT
from benchmarks.model import SCHEMA, graph_in, release_benchmark_model, train_booster
from benchmarks.model import customers as make_customers
from features.project import load_project
from model_registry.bundle import read_bundle
from model_registry.columns import MISSING_CATEGORY, Columns
from model_registry.mlflow_registry import MlflowRegistry
from model_registry.release import Release, bundle_folder, publish
from model_registry.schema import Status
from model_registry.servable import Servable
from training.core.booster import with_float32_thresholds
from training.core.job import train
from training.core.tracking import MlflowTracker

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from model_registry.schema import Schema

OUTPUT = "churn_probability"
ROWS = 1000
AS_OF = dt.date(2017, 12, 1)


@dataclass(frozen=True)
class Subject:
    """A model as everybody gets it.

    `bundles` is what a Regulars server follows; `graph` is the ONNX file in it; `booster` are its trees as LightGBM
    writes them, where the graph is nothing but them. `expected` are the graph's own scores of `rows`, (ROWS,).
    """

    bundles: Path
    graph: Path
    booster: Path | None
    schema: Schema
    rows: Columns
    expected: NDArray[np.float32]


def synthetic_subject(folder: Path) -> Subject:
    """300 trees x 31 leaves x 24 numeric features."""
    bundles, booster = folder / "bundles", folder / "booster.txt"
    bundle = release_benchmark_model(bundles)
    with_float32_thresholds(train_booster()).save_model(str(booster))
    rows = make_customers(ROWS, seed=5)
    return Subject(bundles, graph_in(bundles), booster, SCHEMA, rows, Servable(bundle).score(rows).values[OUTPUT])


def churn_subject(folder: Path) -> Subject:
    """The churn model of Complete Journey, 31 numbers and a text, as `regulars train churn` makes it.

    Its customers are those of the test snapshot of whom nothing is missing, over and over: JSON has no NaN.
    """
    uri, bundles = f"sqlite:///{folder / 'mlflow.db'}", folder / "bundles"
    project = load_project(PROJECT)
    project = replace(project, registry=replace(project.registry, tracking_uri=uri))
    registry = MlflowRegistry(uri)
    pipeline = importlib.import_module("training.churn.pipeline").PIPELINE
    version = train(pipeline, project, registry, MlflowTracker(uri), as_of=AS_OF).version
    (bundles / "churn").mkdir(parents=True)
    downloaded = registry.download_bundle(version, bundles)
    publish(bundles, "churn", downloaded, Release(version.version, "champion", version.digest))
    servable = Servable(read_bundle(bundle_folder(bundles, "churn", version.digest)))
    customers = pipeline.dataset(project, AS_OF).test.columns
    whole = ~np.isnan(customers.numeric).any(axis=1) & (customers.categorical != MISSING_CATEGORY).all(axis=1)
    chosen = np.resize(np.flatnonzero(whole & (servable.score(customers).statuses == Status.OK)), ROWS)
    rows = Columns(customers.numeric[chosen], customers.categorical[chosen])
    return Subject(bundles, graph_in(bundles), None, servable.schema, rows, servable.score(rows).values[OUTPUT])
