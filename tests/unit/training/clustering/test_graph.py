"""The graph says what the native model says, bit for bit where it decides, and never anything that is no number."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model_registry.bundle import Bundle, Golden, Manifest, TrainingWindow
from model_registry.columns import Columns
from model_registry.graph_guard import check_graph
from model_registry.schema import Band, Feature, Output, Schema
from model_registry.servable import Servable
from tests.support.segments import GROUPS, HORIZON, dataset
from training.clustering.centroids import fit_centroids, midway
from training.clustering.fifths import SCORES, Fifths
from training.clustering.graph import segment_graph
from training.clustering.model import CLUSTER, DISTANCE, RUNNER_UP, RUNNER_UP_DISTANCE, SegmentModel
from training.clustering.space import FEATURES, MONETARY, Space

NUMERIC = dataset(each=60).test.columns.numeric
NAMES = (CLUSTER, DISTANCE, RUNNER_UP, RUNNER_UP_DISTANCE, *SCORES)
IDS = (4, 11, 2, 7)
ANYTHING = st.floats(width=32, allow_nan=False, allow_infinity=False)


def model_of(numeric: np.ndarray) -> SegmentModel:
    space = Space.of(numeric, HORIZON)
    centroids = fit_centroids(space.coordinates(numeric), len(GROUPS), starts=5, seed=1)
    return SegmentModel(space, centroids, IDS, Fifths.of(numeric))


def served(model: SegmentModel) -> Servable:
    bands = tuple(Band(f"segment {number}", float(number)) for number in sorted(model.ids))
    outputs = tuple(Output(name, "", bands if name == CLUSTER else ()) for name in NAMES)
    schema = Schema(tuple(Feature(name, "numeric", nullable=False) for name in FEATURES), outputs)
    manifest = Manifest("clustering", schema, HORIZON, TrainingWindow(), {}, "", "", "", "")
    return Servable(Bundle(manifest, segment_graph(schema, model), Golden(columns(NUMERIC[:0]), {}), ""))


def columns(numeric: np.ndarray) -> Columns:
    return Columns(np.ascontiguousarray(numeric, np.float32), np.empty((len(numeric), 0), object))


def run(servable: Servable, numeric: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(NAMES, servable.run(columns(numeric)), strict=True))


MODEL = model_of(NUMERIC)
SERVABLE = served(MODEL)


def assert_alike(model: SegmentModel, servable: Servable, numeric: np.ndarray) -> None:
    native, graph = model.scores(columns(numeric)), run(servable, numeric)
    for name in NAMES:
        assert graph[name].dtype == np.float32
        assert np.isfinite(graph[name]).all()
        if name in {DISTANCE, RUNNER_UP_DISTANCE}:
            assert np.allclose(graph[name], native[name], rtol=1e-6, atol=1e-6)
        else:
            assert np.array_equal(graph[name], native[name])


def test_customers_get_the_same_answers() -> None:
    assert_alike(MODEL, SERVABLE, NUMERIC)


@given(arrays(np.float32, (8, len(FEATURES)), elements=ANYTHING))
def test_so_does_whatever_fits_into_a_float(numeric: np.ndarray) -> None:
    assert_alike(MODEL, SERVABLE, numeric)


@pytest.mark.parametrize("step", [1e-4, 1e-9])
def test_so_do_customers_beside_a_border(step: float) -> None:
    moved = midway(MODEL.space.coordinates(NUMERIC), MODEL.centroids, step)
    assert_alike(MODEL, SERVABLE, MODEL.space.customers_at(moved))


def test_so_do_customers_on_the_limit_of_a_fifth() -> None:
    limits = MODEL.fifths.limits.T
    around = [np.nextafter(limits, np.float32(end)) for end in (-np.inf, np.inf)]
    assert_alike(MODEL, SERVABLE, np.concatenate([limits, *around]).astype(np.float32))


def test_a_feature_without_spread_breaks_nothing() -> None:
    same = NUMERIC.copy()
    same[:, MONETARY] = 0.0
    model = model_of(same)
    strange = same.copy()
    strange[:, MONETARY] = np.float32(3e38)
    assert_alike(model, served(model), np.concatenate([same, strange]))


def test_answers_carry_durable_ids_of_two_different_segments() -> None:
    answers = run(SERVABLE, NUMERIC)
    assert set(np.unique(answers[CLUSTER])) == set(IDS)
    assert (answers[CLUSTER] != answers[RUNNER_UP]).all()
    assert (answers[DISTANCE] <= answers[RUNNER_UP_DISTANCE]).all()


def test_one_customer_alone_gets_the_bits_of_a_table() -> None:
    together = run(SERVABLE, NUMERIC)
    for row in range(0, len(NUMERIC), 17):
        alone = run(SERVABLE, NUMERIC[row : row + 1])
        assert all(alone[name][0] == together[name][row] for name in NAMES)


def test_a_missing_number_makes_no_answer_that_looks_like_one() -> None:
    missing = NUMERIC[:1].copy()
    missing[0, MONETARY] = np.nan
    assert np.isnan(run(SERVABLE, missing)[DISTANCE]).all()


def test_the_graph_is_made_of_standard_operators() -> None:
    graph = segment_graph(SERVABLE.schema, MODEL)
    check_graph(graph)
    assert {node.domain for node in onnx.load_from_string(graph).graph.node} == {""}
    assert ort.InferenceSession(graph).get_inputs()[0].shape[1] == len(FEATURES)
    assert segment_graph(SERVABLE.schema, MODEL) == graph
