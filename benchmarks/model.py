"""The benchmark model: 300 trees x 31 leaves x 24 features, as a released churn bundle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np

from model_registry.bundle import MODEL_FILE, Golden, Manifest, TrainingWindow, read_bundle, write_bundle
from model_registry.columns import Columns
from model_registry.release import RELEASE_FILE, bundle_folder, read_release
from model_registry.schema import QUANTILES, Band, Feature, Output, Schema
from training.core.booster import with_float32_thresholds
from training.core.classifier import Calibrated
from training.core.graph import probability_graph

if TYPE_CHECKING:
    from pathlib import Path

    from model_registry.bundle import Bundle

TREES, LEAVES, FEATURES = 300, 31, 24
TRAINING_ROWS = 20_000
GOLDEN_ROWS = 10

SCHEMA = Schema(
    features=tuple(
        Feature(f"feature_{at:02}", "numeric", minimum=-10.0, maximum=10.0, nullable=at % 2 == 0)
        for at in range(FEATURES)
    ),
    outputs=(
        Output(
            "churn_probability",
            "probability",
            bands=(Band("LOW", 0.0), Band("MEDIUM", 0.25), Band("HIGH", 0.5)),
            reference=tuple(np.linspace(0.0, 1.0, QUANTILES).tolist()),
        ),
    ),
)


def customers(rows: int, seed: int) -> Columns:
    """Customers within the training range, none of them missing anything."""
    numeric = np.random.default_rng(seed).normal(size=(rows, FEATURES)).clip(-9, 9).astype(np.float32)
    return Columns(numeric, np.empty((rows, 0), object))


def train_booster() -> lgb.Booster:
    train = customers(TRAINING_ROWS, seed=1).numeric
    generator = np.random.default_rng(2)
    label = (train[:, :6].sum(axis=1) + np.sin(train[:, 6] * 3) + generator.normal(size=len(train)) > 0).astype(int)
    parameters = {"objective": "binary", "num_leaves": LEAVES, "verbose": -1, "num_threads": 2, "seed": 3}
    return lgb.train(parameters, lgb.Dataset(train, label), TREES)


def release_benchmark_model(bundles: Path) -> Bundle:
    """Trains the model, writes its bundle and releases it in `bundles`."""
    calibrated = Calibrated(with_float32_thresholds(train_booster()), 1.0, 0.0)
    model = probability_graph(SCHEMA, {"churn_probability": calibrated})
    rows = customers(GOLDEN_ROWS, seed=4)
    golden = Golden(rows, {"churn_probability": calibrated.probabilities(rows.numeric).astype(np.float32)})
    draft = bundles / "churn" / ".draft"
    digest = write_bundle(draft, _manifest(), model, golden)
    draft.rename(bundle_folder(bundles, "churn", digest))
    release = {"version": "1", "alias": "champion", "digest": digest}
    (bundles / "churn" / RELEASE_FILE).write_text(json.dumps(release))
    return read_bundle(bundle_folder(bundles, "churn", digest))


def graph_in(bundles: Path) -> Path:
    """The released model's graph."""
    release = read_release(bundles, "churn")
    assert release is not None
    return bundle_folder(bundles, "churn", release.digest) / MODEL_FILE


def _manifest() -> Manifest:
    return Manifest(
        name="churn",
        schema=SCHEMA,
        horizon_days=30,
        training_window=TrainingWindow(),
        metrics={},
        run_id="benchmark",
        trained_at="2018-01-01T00:00:00Z",
        dataset_digest="",
        code_digest="",
    )
