"""Small churn bundles with a graph whose answers a test can compute by hand.

    churn_probability = sigmoid(weight * recency_days + frequency' + channel)

with frequency' = 0 where missing, channel = 1 for "web", -1 for "shop", 0 otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from model_registry.bundle import Bundle, Golden, Manifest, TrainingWindow, read_bundle, write_bundle
from model_registry.columns import Columns
from model_registry.release import RELEASE_FILE, Release
from model_registry.schema import Band, Feature, Output, PopulationRule, Schema, Status

OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]

SCHEMA = Schema(
    features=(
        Feature("recency_days", "numeric", "days", "days since the last order", nullable=False, minimum=0, maximum=90),
        Feature("frequency", "numeric", "orders", "orders so far", nullable=True, minimum=1, maximum=50),
        Feature("channel", "categorical", "", "main channel", nullable=True, vocabulary=("shop", "web")),
    ),
    outputs=(
        Output(
            "churn_probability",
            "probability",
            bands=(Band("LOW", 0.0), Band("MEDIUM", 0.25), Band("HIGH", 0.5)),
            reference=tuple(np.linspace(0.0, 1.0, 101).tolist()),
        ),
    ),
    population=(
        PopulationRule("recency_days", Status.INACTIVE, maximum=90.0),
        PopulationRule("recency_days", Status.INSUFFICIENT_HISTORY, minimum=0.0),
    ),
)


def probability(recency_days: float, frequency: float, channel: str, weight: float = 0.01) -> np.float32:
    """What the graph computes, in numpy."""
    text = {"web": 1.0, "shop": -1.0}.get(channel, 0.0)
    margin = weight * recency_days + (0.0 if np.isnan(frequency) else frequency) + text
    return np.float32(1 / (1 + np.exp(-margin)))


def graph(weight: float = 0.01) -> onnx.ModelProto:
    """The graph of this module's docstring."""
    nodes = [
        helper.make_node("IsNaN", ["numeric"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "numeric"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["from_numbers"]),
        helper.make_node(
            "LabelEncoder",
            ["categorical"],
            ["from_text"],
            domain="ai.onnx.ml",
            keys_strings=["shop", "web"],
            values_floats=[-1.0, 1.0],
            default_float=0.0,
        ),
        helper.make_node("Add", ["from_numbers", "from_text"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["churn_probability"]),
    ]
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [2, 1], [weight, 1.0])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    return helper.make_model(
        helper.make_graph(
            nodes,
            "churn",
            [
                helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", 2]),
                helper.make_tensor_value_info("categorical", TensorProto.STRING, ["n", 1]),
            ],
            [helper.make_tensor_value_info("churn_probability", TensorProto.FLOAT, ["n", 1])],
            [weights, zero],
        ),
        opset_imports=OPSETS,
        ir_version=10,
    )


def manifest(**changes: object) -> Manifest:
    base = Manifest(
        name="churn",
        schema=SCHEMA,
        horizon_days=30,
        training_window=TrainingWindow("2017-05-05", "2017-11-01", "2017-12-01"),
        metrics={"auc": 0.86},
        run_id="run",
        trained_at="2018-01-01T00:00:00Z",
        dataset_digest="d" * 64,
        code_digest="c" * 64,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # a test changes what it likes


def columns(*rows: tuple[float, float, str]) -> Columns:
    """Rows of recency_days, frequency, channel."""
    return Columns(
        np.array([row[:2] for row in rows], np.float32).reshape(-1, 2),
        np.array([[row[2]] for row in rows], object).reshape(-1, 1),
    )


GOLDEN_ROWS = ((10.0, 1.0, "web"), (20.0, float("nan"), ""), (80.0, 3.0, "kiosk"))


def golden(weight: float = 0.01) -> Golden:
    expected = np.array([probability(*row, weight=weight) for row in GOLDEN_ROWS], np.float32)
    return Golden(columns(*GOLDEN_ROWS), {"churn_probability": expected})


def make_bundle(folder: Path, weight: float = 0.01, **changes: object) -> Bundle:
    """Writes a bundle to `folder` and reads it back; another `weight` is another model."""
    write_bundle(folder, manifest(**changes), graph(weight).SerializeToString(), golden(weight))
    return read_bundle(folder)


def release_bundle(bundles: Path, version: str, weight: float = 0.01, **changes: object) -> Release:
    """Writes a bundle and releases it as `regulars sync` would."""
    draft = bundles / "churn" / f".draft-{version}"
    bundle = make_bundle(draft, weight, **changes)
    place = bundles / "churn" / bundle.digest
    if not place.exists():
        draft.rename(place)
    release = Release(version, "champion", bundle.digest)
    text = f'{{"version": "{version}", "alias": "champion", "digest": "{bundle.digest}"}}'
    swap = bundles / "churn" / ".release"
    swap.write_text(text)
    swap.rename(bundles / "churn" / RELEASE_FILE)
    return release
