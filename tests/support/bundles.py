"""Small bundles with graphs whose answers a test can compute by hand, all of them over the same three features.

    churn_probability = sigmoid(weight * recency_days + frequency' + channel)

with frequency' = 0 where missing, channel = 1 for "web", -1 for "shop", 0 otherwise. `SAMPLES` holds one such model of
each kind that the suite serves; what the others compute stands beside their graphs.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from model_registry.bundle import Bundle, Golden, Manifest, TrainingWindow, read_bundle, write_bundle
from model_registry.columns import Columns
from model_registry.ordering import properties_of
from model_registry.release import RELEASE_FILE, Release
from model_registry.schema import QUANTILES, Band, Feature, Output, PopulationRule, Schema, Status
from model_registry.servable import Servable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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
            reference=tuple(np.linspace(0.0, 1.0, QUANTILES).tolist()),
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
        helper.make_node("MatMul", ["filled", "weights"], ["from_numbers"]),
        helper.make_node("Add", ["from_numbers", "from_text"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["churn_probability"]),
    ]
    return _model(SCHEMA, nodes, [helper.make_tensor("weights", TensorProto.FLOAT, [2, 1], [weight, 1.0])])


def _model(schema: Schema, nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto]) -> onnx.ModelProto:
    """A graph over `filled` (n, 2), the numbers with 0 for what is missing, and `from_text` (n, 1), the channel's."""
    reading = [
        helper.make_node("IsNaN", ["numeric"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "numeric"], ["filled"]),
        helper.make_node(
            "LabelEncoder",
            ["categorical"],
            ["from_text"],
            domain="ai.onnx.ml",
            keys_strings=["shop", "web"],
            values_floats=[-1.0, 1.0],
            default_float=0.0,
        ),
    ]
    return helper.make_model(
        helper.make_graph(
            [*reading, *nodes],
            "sample",
            [
                helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", 2]),
                helper.make_tensor_value_info("categorical", TensorProto.STRING, ["n", 1]),
            ],
            [helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["n", 1]) for output in schema.outputs],
            [helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]), *constants],
        ),
        opset_imports=OPSETS,
        ir_version=10,
    )


SLOW_ABOVE = 1000.0
"""The awkward graph runs one loop turn for every order of `frequency` above this."""

BREAKING = 13.0
"""A `frequency` for which the awkward graph gives no number."""


def awkward_graph(weight: float = 0.01) -> onnx.ModelProto:
    """The same answers, but as slow as a customer asks it to be, and not finite for one unlucky number."""
    model = graph(weight)
    before, last = list(model.graph.node[:-1]), model.graph.node[-1]
    nothing = helper.make_tensor_value_info("turn_in", TensorProto.FLOAT, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["going_on"]),
            helper.make_node("Add", ["turn_in", "zero"], ["turn_out"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            nothing,
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("turn_out", TensorProto.FLOAT, []),
        ],
    )
    awkward = [
        helper.make_node("ReduceMax", ["filled"], ["largest"], keepdims=0),
        helper.make_node("Sub", ["largest", "slow_above"], ["beyond"]),
        helper.make_node("Relu", ["beyond"], ["turns_wanted"]),
        helper.make_node("Cast", ["turns_wanted"], ["turns"], to=TensorProto.INT64),
        helper.make_node("Loop", ["turns", "", "zero"], ["idle"], body=body),
        helper.make_node("Gather", ["filled", "second"], ["orders"], axis=1),
        helper.make_node("Sub", ["orders", "breaking"], ["unluckiness"]),
        helper.make_node("Div", ["zero", "unluckiness"], ["nothing"]),
        helper.make_node("Sum", ["margin", "idle", "nothing"], ["awkward_margin"]),
    ]
    last.input[0] = "awkward_margin"
    del model.graph.node[:]
    model.graph.node.extend([*before, *awkward, last])
    model.graph.initializer.extend(
        [
            helper.make_tensor("slow_above", TensorProto.FLOAT, [], [SLOW_ABOVE]),
            helper.make_tensor("breaking", TensorProto.FLOAT, [], [BREAKING]),
            helper.make_tensor("second", TensorProto.INT64, [1], [1]),
        ]
    )
    return model


def forest_graph(trees: int = 60, depth: int = 4, seed: int = 0) -> onnx.ModelProto:
    """A tree ensemble, as the trained models are, with random splits: what score identity has to hold for."""
    random = np.random.default_rng(seed)
    inner, nodes = 2**depth - 1, 2 ** (depth + 1) - 1
    count = trees * nodes
    is_leaf = np.tile(np.arange(nodes) >= inner, trees)
    node_ids = np.tile(np.arange(nodes), trees)
    tree_ids = np.repeat(np.arange(trees), nodes)
    features = random.integers(0, 3, count)
    values = np.where(features == 0, random.uniform(0, 90, count), random.uniform(-1, 50, count))
    forest = helper.make_node(
        "TreeEnsembleRegressor",
        ["filled"],
        ["margin"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=tree_ids.tolist(),
        nodes_nodeids=node_ids.tolist(),
        nodes_featureids=features.tolist(),
        nodes_modes=["LEAF" if leaf else "BRANCH_LEQ" for leaf in is_leaf],
        nodes_values=values.astype(np.float32).tolist(),
        nodes_truenodeids=np.where(is_leaf, 0, 2 * node_ids + 1).tolist(),
        nodes_falsenodeids=np.where(is_leaf, 0, 2 * node_ids + 2).tolist(),
        nodes_missing_value_tracks_true=random.integers(0, 2, count).tolist(),
        target_treeids=tree_ids[is_leaf].tolist(),
        target_nodeids=node_ids[is_leaf].tolist(),
        target_ids=[0] * int(is_leaf.sum()),
        target_weights=random.normal(0, 0.2, int(is_leaf.sum())).astype(np.float32).tolist(),
    )
    base = graph()
    encoder = next(node for node in base.graph.node if node.op_type == "LabelEncoder")
    del base.graph.node[:]
    base.graph.node.extend(
        [
            encoder,
            helper.make_node("Concat", ["numeric", "from_text"], ["filled"], axis=1),
            forest,
            helper.make_node("Sigmoid", ["margin"], ["churn_probability"]),
        ]
    )
    helper.set_model_props(base, properties_of([(0, 45.0), (1, 25.0)]))
    return base


def random_columns(rows: int, seed: int = 0) -> Columns:
    """Customers of every sort: known and unseen, missing values, within the population and outside it."""
    random = np.random.default_rng(seed)
    recency = random.uniform(-5, 100, rows)
    frequency = np.where(random.random(rows) < 0.2, np.nan, random.uniform(0, 60, rows))
    channels = np.array(["web", "shop", "", "kiosk"], object)
    return Columns(np.stack([recency, frequency], axis=1).astype(np.float32), random.choice(channels, (rows, 1)))


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


def make_bundle(folder: Path, weight: float = 0.01, model: onnx.ModelProto | None = None, **changes: object) -> Bundle:
    """Writes a bundle to `folder` and reads it back; another `weight` is another model.

    A `model` other than `graph(weight)` must give the same answers to the golden rows.
    """
    write_bundle(folder, manifest(**changes), (model or graph(weight)).SerializeToString(), golden(weight))
    return read_bundle(folder)


def make_forest_bundle(folder: Path, **sizes: int) -> Bundle:
    """A bundle of `forest_graph`; its golden scores are its own."""
    model = forest_graph(**sizes).SerializeToString()
    bare = Bundle(manifest(), model, golden(), "")
    expected = Servable(bare).run(bare.golden.columns)
    write_bundle(folder, manifest(), model, Golden(bare.golden.columns, {"churn_probability": expected[0]}))
    return read_bundle(folder)


def release_bundle(
    bundles: Path, version: str, weight: float = 0.01, model: onnx.ModelProto | None = None, **changes: object
) -> Release:
    """Writes a bundle and releases it as `regulars sync` would."""
    draft = bundles / "churn" / f".draft-{version}"
    return release_draft(bundles, version, draft, make_bundle(draft, weight, model, **changes))


def release_forest(bundles: Path, version: str, **sizes: int) -> Release:
    """The same for `make_forest_bundle`."""
    draft = bundles / "churn" / f".draft-{version}"
    return release_draft(bundles, version, draft, make_forest_bundle(draft, **sizes))


def release_draft(bundles: Path, version: str, draft: Path, bundle: Bundle, model: str = "churn") -> Release:
    place = bundles / model / bundle.digest
    if not place.exists():
        draft.rename(place)
    else:
        shutil.rmtree(draft)
    release = Release(version, "champion", bundle.digest)
    text = json.dumps(asdict(release))
    swap = bundles / model / ".release"
    swap.write_text(text)
    swap.rename(bundles / model / RELEASE_FILE)
    return release


class _Graph:
    """A graph in the making, over `recency`, `orders` and `channel`, each (n, 1); numbers become its constants."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self.column("filled", 0, "recency")
        self.column("filled", 1, "orders")
        self.add("Identity", ["from_text"], "channel")

    def add(self, operator: str, inputs: Sequence[str | float], *outputs: str, **attributes: Any) -> None:
        names = [name if isinstance(name, str) else self.constant([name], []) for name in inputs]
        self._nodes.append(helper.make_node(operator, names, outputs, **attributes))

    def constant(self, values: Sequence[float], shape: Sequence[int], kind: int = TensorProto.FLOAT) -> str:
        name = f"constant {len(self._constants)}"
        self._constants.append(helper.make_tensor(name, kind, shape, values))
        return name

    def column(self, source: str, number: int, output: str) -> None:
        self.add("Gather", [source, self.constant([number], [1], TensorProto.INT64)], output, axis=1)

    def finish(self, schema: Schema) -> onnx.ModelProto:
        return _model(schema, self._nodes, self._constants)


Weights = tuple[float, float, float, float]
"""Of recency, frequency', channel, and 1."""


def _linear_model(schema: Schema, weights: dict[str, Weights], activation: str) -> onnx.ModelProto:
    """Outputs that are an activation over a weighted sum."""
    made = _Graph()
    for name, (*factors, base) in weights.items():
        for source, factor in zip(("recency", "orders", "channel"), factors, strict=True):
            made.add("Mul", [source, factor], f"{name} {source}")
        made.add("Sum", [f"{name} recency", f"{name} orders", f"{name} channel", base], f"{name} sum")
        made.add(activation, [f"{name} sum"], name)
    return made.finish(schema)


def _weighted(row: Row, weights: Weights) -> float:
    recency, frequency, channel = row
    text = {"web": 1.0, "shop": -1.0}.get(channel, 0.0)
    orders = 0.0 if np.isnan(frequency) else frequency
    return weights[0] * recency + weights[1] * orders + weights[2] * text + weights[3]


def _reference(low: float, high: float) -> tuple[float, ...]:
    return tuple(np.linspace(low, high, QUANTILES).tolist())


Row = tuple[float, float, str]
"""Recency_days, frequency, channel."""

PROPENSITIES: dict[str, Weights] = {
    "purchase_probability": (0.01, 1.0, 1.0, 0.0),
    "purchase_probability[GROCERY]": (0.02, 0.5, -1.0, 0.0),
    "purchase_probability[DRUG GM]": (-0.01, 0.25, 1.0, 0.0),
    # Always as likely as groceries.
    "purchase_probability[DELI]": (0.02, 0.5, -1.0, 0.0),
    "response_probability": (-0.02, 0.0, 0.5, -1.0),
}

PROPENSITY_SCHEMA = replace(
    SCHEMA,
    outputs=(
        Output("purchase_probability", "probability", reference=_reference(0.0, 1.0)),
        *(
            Output(f"purchase_probability[{category}]", "probability", category=category)
            for category in ("GROCERY", "DRUG GM", "DELI")
        ),
        Output("response_probability", "probability"),
    ),
)


def propensities(row: Row) -> dict[str, float]:
    """The outputs of the propensity graph: sigmoids of `PROPENSITIES`."""
    return {name: 1 / (1 + np.exp(-_weighted(row, weights))) for name, weights in PROPENSITIES.items()}


VALUES: dict[str, Weights] = {
    "expected_value": (-0.5, 10.0, 5.0, 100.0),
    "lower_bound": (-0.5, 10.0, 5.0, 60.0),
    "upper_bound": (-0.5, 10.0, 5.0, 180.0),
}

CLTV_SCHEMA = replace(
    SCHEMA,
    outputs=(
        Output(
            "expected_value",
            "USD",
            bands=(Band("BRONZE", -1000.0), Band("SILVER", 80.0), Band("GOLD", 120.0)),
            reference=_reference(0.0, 200.0),
        ),
        Output("lower_bound", "USD"),
        Output("upper_bound", "USD"),
    ),
)


def lifetime_values(row: Row) -> dict[str, float]:
    """The outputs of the cltv graph: the sums of `VALUES`."""
    return {name: _weighted(row, weights) for name, weights in VALUES.items()}


CLUSTERS = {3: ("occasional", -2.0), 7: ("regular", 2.5), 300: ("devoted", 0.0)}
"""By durable id: the name, and the centroid, a frequency'."""

UNUSUAL_FROM = 1.5
"""A distance."""

CLUSTERING_SCHEMA = replace(
    SCHEMA,
    outputs=(
        Output("cluster_id", "", bands=tuple(Band(name, float(number)) for number, (name, _) in CLUSTERS.items())),
        Output("distance", "scaled units", bands=(Band("USUAL", 0.0), Band("UNUSUAL", UNUSUAL_FROM))),
        Output("runner_up_id", ""),
        Output("runner_up_distance", "scaled units"),
        *(Output(f"{name}_score", "quintile") for name in ("recency", "frequency", "monetary")),
    ),
)


def _clustering_graph() -> onnx.ModelProto:
    made = _Graph()
    made.add("Sub", ["orders", made.constant([place for _, place in CLUSTERS.values()], [1, 3])], "offsets")
    made.add("Abs", ["offsets"], "distances")
    two = made.constant([2], [1], TensorProto.INT64)
    made.add("TopK", ["distances", two], "nearest", "places", axis=1, largest=0, sorted=1)
    made.add("Gather", [made.constant(list(CLUSTERS), [3]), "places"], "nearest ids")
    made.column("nearest ids", 0, "cluster_id")
    made.column("nearest", 0, "distance")
    made.column("nearest ids", 1, "runner_up_id")
    made.column("nearest", 1, "runner_up_distance")
    made.add("Div", ["recency", 20.0], "recency in steps")
    made.add("Ceil", ["recency in steps"], "steps back")
    made.add("Sub", [6.0, "steps back"], "recency step")
    made.add("Floor", ["orders"], "frequency step")
    made.add("Add", ["orders", "channel"], "money")
    made.add("Ceil", ["money"], "monetary step")
    for name in ("recency", "frequency", "monetary"):
        made.add("Clip", [f"{name} step", 1.0, 5.0], f"{name}_score")
    return made.finish(CLUSTERING_SCHEMA)


def assignment(row: Row) -> dict[str, float]:
    """The outputs of the clustering graph: the two nearest centroids, and steps of the features from 1 to 5."""
    recency, frequency, _ = row
    orders = 0.0 if np.isnan(frequency) else frequency
    nearest = sorted((abs(orders - place), number) for number, (_, place) in CLUSTERS.items())
    steps = {
        "recency": 6 - np.ceil(recency / 20),
        "frequency": np.floor(orders),
        "monetary": np.ceil(_weighted(row, (0.0, 1.0, 1.0, 0.0))),
    }
    return {
        "cluster_id": nearest[0][1],
        "distance": nearest[0][0],
        "runner_up_id": nearest[1][1],
        "runner_up_distance": nearest[1][0],
        **{f"{name}_score": float(np.clip(step, 1, 5)) for name, step in steps.items()},
    }


@dataclass(frozen=True)
class Sample:
    """A small model: its bundle, and what its graph computes for a customer, by hand."""

    name: str
    schema: Schema
    graph: Callable[[], onnx.ModelProto]
    by_hand: Callable[[Row], dict[str, float]]
    constants: dict[str, float] = field(default_factory=dict)

    def manifest(self, **changes: object) -> Manifest:
        return manifest(**{"name": self.name, "schema": self.schema, "constants": self.constants, **changes})

    def make(self, folder: Path, **changes: object) -> Bundle:
        """Writes the bundle to `folder` and reads it back."""
        expected = [self.by_hand(row) for row in GOLDEN_ROWS]
        columns_expected = {name: np.array([row[name] for row in expected], np.float32) for name in expected[0]}
        golden_rows = Golden(columns(*GOLDEN_ROWS), columns_expected)
        write_bundle(folder, self.manifest(**changes), self.graph().SerializeToString(), golden_rows)
        return read_bundle(folder)

    def release(self, bundles: Path, version: str, **changes: object) -> Release:
        """Writes the bundle and releases it as `regulars sync` would."""
        draft = bundles / self.name / f".draft-{version}"
        return release_draft(bundles, version, draft, self.make(draft, **changes), self.name)


CHURN = Sample("churn", SCHEMA, graph, lambda row: {"churn_probability": float(probability(*row))})
PROPENSITY = Sample(
    "propensity", PROPENSITY_SCHEMA, lambda: _linear_model(PROPENSITY_SCHEMA, PROPENSITIES, "Sigmoid"), propensities
)
CLTV = Sample(
    "cltv",
    CLTV_SCHEMA,
    lambda: _linear_model(CLTV_SCHEMA, VALUES, "Identity"),
    lifetime_values,
    {"interval_level": 0.8},
)
CLUSTERING = Sample("clustering", CLUSTERING_SCHEMA, _clustering_graph, assignment)

SAMPLES = {sample.name: sample for sample in (CHURN, PROPENSITY, CLTV, CLUSTERING)}
