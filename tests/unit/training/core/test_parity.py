"""The certificate passes the graph that is right and refuses every graph that is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_registry.bundle import Bundle, Golden, Manifest, TrainingWindow
from model_registry.ordering import CUTS, MOST_CUTS
from model_registry.schema import Output, Schema
from model_registry.servable import Servable
from tests.support.learning import HORIZON, LABEL, dataset
from training.core.booster import thresholds
from training.core.classifier import tune
from training.core.dataset import design_matrix
from training.core.errors import TrainingError
from training.core.golden import MISSING_ROWS, PLAIN_ROWS, UNSEEN_ROWS, golden_rows
from training.core.graph import MATRIX, TREES, probability_graph, tree_nodes
from training.core.parity import LIMIT, UNSEEN_CATEGORY, awkward_rows, certify
from training.core.pipeline import Fitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_registry.columns import Columns
    from model_registry.evidence import Parity

OUTPUT = "churn_probability"
DATA = dataset()
MODEL = tune(DATA.train, DATA.features, LABEL, HORIZON, lambda _: None).model
SCHEMA = Schema(DATA.features, (Output(OUTPUT, "probability"),))
GRAPH = probability_graph(SCHEMA, {OUTPUT: MODEL})
THRESHOLDS = thresholds(MODEL.booster)


def servable(graph: bytes, schema: Schema = SCHEMA) -> Servable:
    manifest = Manifest("churn", schema, HORIZON, TrainingWindow(), {}, "", "", "", "")
    return Servable(Bundle(manifest, graph, Golden(DATA.test.columns.slice(0, 0), {}), ""))


def native(columns: Columns) -> dict[str, np.ndarray]:
    return {OUTPUT: MODEL.probabilities(design_matrix(columns, DATA.features))}


def certificate(graph: bytes) -> Parity:
    return certify(servable(graph), Fitted(SCHEMA, graph, native, THRESHOLDS, {}, {}), DATA.test.columns)


def damaged(change: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_from_string(GRAPH)
    change(model)
    return model.SerializeToString()


def node(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def attribute(of: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(attribute for attribute in of.attribute if attribute.name == name)


def test_the_graph_is_the_native_model() -> None:
    parity = certificate(GRAPH)
    assert parity.passed
    assert parity.largest < 1e-6
    assert set(parity.deviations) == {
        "holdout",
        "either side of every threshold",
        "missing numbers",
        "unseen and missing categories",
        "extremes",
    }
    assert parity.rows > len(DATA.test) + 3 * sum(map(len, THRESHOLDS.values()))


def shift(model: onnx.ModelProto, step: float) -> None:
    constant = next(n for n in model.graph.node if n.output[0] == f"{OUTPUT}_intercept")
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([MODEL.intercept + step], np.float32)))


def shift_intercept(model: onnx.ModelProto) -> None:
    shift(model, 1e-3)


def drop_a_part(model: onnx.ModelProto) -> None:
    node(model, "Sum").input.pop()


def swap_a_category(model: onnx.ModelProto) -> None:
    attribute(node(model, "LabelEncoder"), "keys_strings").strings[:] = [b"shop", b"mail", b"web"]


def send_unseen_categories_elsewhere(model: onnx.ModelProto) -> None:
    attribute(node(model, "LabelEncoder"), "default_float").f = 0.0


def send_missing_numbers_elsewhere(model: onnx.ModelProto) -> None:
    for trees in (one for one in model.graph.node if one.op_type == TREES):
        tracks = attribute(trees, "nodes_missing_value_tracks_true").ints
        tracks[:] = [1 - track for track in tracks]


def split_strictly(model: onnx.ModelProto) -> None:
    for trees in (one for one in model.graph.node if one.op_type == TREES):
        modes = attribute(trees, "nodes_modes").strings
        modes[:] = [b"BRANCH_LT" if mode == b"BRANCH_LEQ" else mode for mode in modes]


def say_nothing(model: onnx.ModelProto) -> None:
    constant = next(n for n in model.graph.node if n.output[0] == f"{OUTPUT}_slope")
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([np.nan], np.float32)))


@pytest.mark.parametrize(
    ("change", "noticed_by"),
    [
        (shift_intercept, ""),
        (drop_a_part, ""),
        (swap_a_category, ""),
        (say_nothing, ""),
        (send_unseen_categories_elsewhere, ""),
        (send_missing_numbers_elsewhere, ""),
        # Only rows that lie exactly on a threshold notice this one.
        (split_strictly, "either side of every threshold"),
    ],
)
def test_a_wrong_graph_is_refused(change: Callable[[onnx.ModelProto], None], noticed_by: str) -> None:
    with pytest.raises(TrainingError, match="nothing was registered") as refusal:
        certificate(damaged(change))
    assert noticed_by in str(refusal.value)


def test_doubles_for_thresholds_would_be_refused() -> None:
    """The reason for floored boosters: against thresholds nudged by less than a float32, rows route differently."""

    def nudge(model: onnx.ModelProto) -> None:
        for trees in (one for one in model.graph.node if one.op_type == TREES):
            values = attribute(trees, "nodes_values").floats
            values[:] = np.nextafter(np.array(values, np.float32), np.float32(np.inf)).tolist()

    with pytest.raises(TrainingError, match="either side of every threshold"):
        certificate(damaged(nudge))


def test_the_limit_is_where_the_design_puts_it() -> None:
    assert LIMIT == 1e-5
    # A log odd moves a probability by a quarter of itself at most.
    assert certificate(damaged(lambda model: shift(model, 3e-5))).passed
    with pytest.raises(TrainingError):
        certificate(damaged(lambda model: shift(model, 6e-5)))


def test_awkward_rows_are_awkward() -> None:
    kinds = dict(awkward_rows(SCHEMA, DATA.test.columns, THRESHOLDS))
    around = kinds["either side of every threshold"].numeric
    for column, values in THRESHOLDS.items():
        for wanted in (values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))):
            assert np.isin(wanted, around[:, column]).all()
    missing = np.isnan(kinds["missing numbers"].numeric)
    assert missing[:, 2].any()
    assert not missing[:, :2].any(), "a feature that is never missing must not be"
    strange = kinds["unseen and missing categories"].categorical
    assert {UNSEEN_CATEGORY, ""} <= set(strange.ravel())
    assert np.nanmax(kinds["extremes"].numeric) > 1e38


def test_the_certificate_leaves_the_holdout_as_it_was() -> None:
    before = DATA.test.columns.numeric.copy()
    certificate(GRAPH)
    assert np.array_equal(before, DATA.test.columns.numeric, equal_nan=True)


def test_a_graph_of_numbers_alone_takes_numbers_alone() -> None:
    numeric = tuple(feature for feature in DATA.features if feature.kind == "numeric")
    schema = Schema(numeric, SCHEMA.outputs)
    columns = replace(DATA.train.columns, categorical=np.empty((len(DATA.train), 0), object))
    model = tune(replace(DATA.train, columns=columns), numeric, LABEL, HORIZON, lambda _: None).model
    holdout = replace(DATA.test.columns, categorical=np.empty((len(DATA.test), 0), object))

    def scores(rows: Columns) -> dict[str, np.ndarray]:
        return {OUTPUT: model.probabilities(design_matrix(rows, numeric))}

    graph = probability_graph(schema, {OUTPUT: model})
    fitted = Fitted(schema, graph, scores, thresholds(model.booster), {}, {})
    parity = certify(servable(graph, schema), fitted, holdout)
    assert parity.passed
    assert "unseen and missing categories" not in parity.deviations


def test_trees_are_cut_into_nodes_that_share_one_input() -> None:
    whole, parts = (tree_nodes(MODEL.booster, 4, "x", trees_a_node=count) for count in (10_000, 10))
    assert len(whole) == 1
    assert len(parts) == -(-MODEL.booster.num_trees() // 10)
    assert {tuple(part.input) for part in parts} == {(MATRIX,)}
    assert len({part.output[0] for part in parts}) == len(parts)


def test_the_same_model_gives_the_same_bytes_at_the_pinned_opsets() -> None:
    assert probability_graph(SCHEMA, {OUTPUT: MODEL}) == GRAPH
    opsets = {entry.domain: entry.version for entry in onnx.load_from_string(GRAPH).opset_import}
    assert opsets == {"": 21, "ai.onnx.ml": 3}


def test_a_graph_is_cut_where_its_trees_split_numbers() -> None:
    cuts = json.loads({entry.key: entry.value for entry in onnx.load_from_string(GRAPH).metadata_props}[CUTS])
    assert len(cuts) == MOST_CUTS
    assert all(np.float32(end) in THRESHOLDS[feature] for feature, end in cuts)


def test_golden_rows_are_plain_missing_and_unseen() -> None:
    loaded = servable(GRAPH)
    golden = golden_rows(loaded, DATA.test.columns)
    assert len(golden.columns) == PLAIN_ROWS + MISSING_ROWS + UNSEEN_ROWS == 50
    assert np.isnan(golden.columns.numeric[PLAIN_ROWS : PLAIN_ROWS + MISSING_ROWS, 2]).all()
    assert (golden.columns.categorical[-UNSEEN_ROWS:] == UNSEEN_CATEGORY).all()
    expected = golden.expected[OUTPUT]
    assert np.array_equal(expected, loaded.run(golden.columns)[0])
    assert expected[:PLAIN_ROWS].max() - expected[:PLAIN_ROWS].min() > 0.5, "spread from low to high"
