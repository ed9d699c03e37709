"""Thresholds in float32 route float32 values exactly as the doubles did."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.schema import Feature
from training.core.booster import (
    FIXED,
    LEAF_GRID,
    data_of,
    floor_to_float32,
    margins,
    thresholds,
    with_exact_sums,
    with_float32_thresholds,
)

FEATURES = (
    Feature("a", "numeric"),
    Feature("b", "numeric"),
    Feature("c", "categorical", vocabulary=("x", "y", "z")),
)
RANDOM = np.random.default_rng(2)


def train(rows: int = 2000, trees: int = 20) -> lgb.Booster:
    matrix = RANDOM.normal(size=(rows, 3)).astype(np.float32)
    matrix[::7, 1] = np.nan
    matrix[:, 2] = RANDOM.integers(-1, 3, rows)
    labels = (matrix[:, 0] + np.nan_to_num(matrix[:, 1]) + (matrix[:, 2] == 1) > 0.3).astype(np.float32)
    parameters = {**FIXED, "objective": "binary", "num_leaves": 15, "min_data_per_group": 10, "cat_smooth": 1}
    return lgb.train(parameters, data_of(matrix, labels, FEATURES), trees)


BOOSTER = train()
FLOORED = with_float32_thresholds(BOOSTER)


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False))
def test_a_floored_threshold_routes_every_float32_as_the_double_does(threshold: float, value: float) -> None:
    floored = floor_to_float32(np.array([threshold]))[0]
    assert (np.float32(value) <= floored) == (value <= threshold)


@given(st.floats(-1e30, 1e30))
def test_neighbours_of_a_threshold_route_as_with_the_double(threshold: float) -> None:
    nearest = np.float32(threshold)
    for value in (nearest, np.nextafter(nearest, np.float32(-np.inf)), np.nextafter(nearest, np.float32(np.inf))):
        assert (value <= floor_to_float32(np.array([threshold]))[0]) == (float(value) <= threshold)


def test_a_floored_booster_scores_float32_rows_as_before() -> None:
    matrix = RANDOM.normal(size=(5000, 3)).astype(np.float32)
    matrix[::5, 1] = np.nan
    matrix[:, 2] = RANDOM.integers(-1, 5, 5000)
    for column, values in thresholds(BOOSTER).items():
        matrix[: len(values), column] = values
    assert np.array_equal(margins(FLOORED, matrix), margins(BOOSTER, matrix))


def test_the_edge_below_zero_routes_as_zero_in_any_comparison() -> None:
    # LightGBM takes whatever is as small as its edge for zero, and a graph compares it as it is.
    signs = RANDOM.choice([-1.0, 0.0, 1.0], (2000, 1)).astype(np.float32)
    labels = ((signs[:, 0] < 0) ^ (RANDOM.random(2000) < 0.1)).astype(np.float32)
    booster = lgb.train({**FIXED, "objective": "binary"}, data_of(signs, labels, FEATURES[:1]), 5)
    edge = np.float32(-1e-35)
    assert edge in thresholds(booster)[0]
    below = np.nextafter(edge, np.float32(-np.inf))
    floored = with_float32_thresholds(booster)
    assert below in thresholds(floored)[0]
    assert edge not in thresholds(floored)[0]
    rows = np.array([[-1.0], [below], [edge], [-1e-38], [0.0], [1.0]], np.float32)
    assert np.array_equal(margins(floored, rows), margins(booster, rows))
    scores = margins(floored, rows)
    assert scores[0] == scores[1] != scores[2]
    assert scores[2] == scores[3] == scores[4]


def test_all_thresholds_are_float32_afterwards_and_were_not_before() -> None:
    def kept(booster: lgb.Booster) -> list[float]:
        nodes = booster.trees_to_dataframe()
        splits = nodes[nodes["decision_type"] == "<="]
        return [float(value) for value in splits["threshold"]]

    # As doubles: numpy would compare a Python float with a float32 in float32.
    assert all(value == float(np.float32(value)) for value in kept(FLOORED))
    assert not all(value == float(np.float32(value)) for value in kept(BOOSTER))
    assert FLOORED.num_trees() == BOOSTER.num_trees()


def test_thresholds_are_listed_by_column_and_categories_are_none() -> None:
    nodes = FLOORED.trees_to_dataframe()
    assert (nodes["decision_type"] == "==").any(), "the test needs a split by category"
    listed = thresholds(FLOORED)
    assert set(listed) == {0, 1}
    for column, values in listed.items():
        splits = nodes[(nodes["split_feature"] == f"f{column}") & (nodes["decision_type"] == "<=")]
        assert values.tolist() == sorted({float(value) for value in splits["threshold"]})


def test_thresholds_of_several_boosters_are_those_of_any() -> None:
    numbers = RANDOM.normal(size=(2000, 1)).astype(np.float32)
    labels = (numbers[:, 0] > 0).astype(np.float32)
    narrow = with_float32_thresholds(
        lgb.train({**FIXED, "objective": "binary"}, data_of(numbers, labels, FEATURES[:1]), 5)
    )
    one, other, both = thresholds(FLOORED), thresholds(narrow), thresholds(FLOORED, narrow)
    assert both[0].tolist() == sorted({*one[0].tolist(), *other[0].tolist()})
    assert len(both[0]) > max(len(one[0]), len(other[0]))
    assert both[1].tolist() == one[1].tolist()


def test_leaves_on_the_grid_add_up_exactly_in_floats_and_any_order() -> None:
    matrix = RANDOM.normal(size=(500, 3)).astype(np.float32)
    gridded = with_exact_sums(FLOORED)
    parts = np.array([gridded.predict(matrix, raw_score=True, start_iteration=at, num_iteration=1) for at in range(20)])
    assert np.array_equal(parts, np.round(parts / LEAF_GRID) * LEAF_GRID)
    exact = margins(gridded, matrix)
    for _ in range(5):
        total = np.zeros(500, np.float32)
        for part in RANDOM.permutation(parts).astype(np.float32):
            total += part
        assert np.array_equal(total, exact)
    assert np.abs(exact - margins(FLOORED, matrix)).max() <= 20 * LEAF_GRID / 2
    assert thresholds(gridded).keys() == thresholds(FLOORED).keys()


def test_a_booster_that_never_split_is_left_alone() -> None:
    matrix, labels = np.zeros((200, 3), np.float32), np.arange(200, dtype=np.float32) % 2
    stump = lgb.train({**FIXED, "objective": "binary"}, data_of(matrix, labels, FEATURES), 1)
    assert thresholds(with_float32_thresholds(stump)) == {}


def test_a_negative_code_trains_as_missing_and_the_matrix_is_not_changed() -> None:
    matrix = np.full((100, 3), -1, np.float32)
    data = data_of(matrix, np.zeros(100, np.float32), FEATURES)
    kept = np.asarray(data.data)
    assert np.isnan(kept[:, 2]).all()
    assert bool((kept[:, :2] == -1).all())
    assert bool((matrix == -1).all())


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_booster(threads: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    matrix[:, 2] = 0
    labels = (matrix[:, 0] > 0).astype(np.float32)
    parameters = {**FIXED, "objective": "binary", "bagging_fraction": 0.7, "bagging_freq": 1}
    one, other = (
        lgb.train({**parameters, "num_threads": count}, data_of(matrix, labels, FEATURES), 10) for count in (1, threads)
    )
    assert np.array_equal(margins(one, matrix), margins(other, matrix))
