"""Centroids: found, put in order, and their borders."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.segments import GROUPS, HORIZON, customers, truth
from training.clustering.centroids import fit_centroids, midway, nearest
from training.clustering.space import FEATURES, Space

NUMERIC = np.column_stack([customers()[name].to_numpy() for name in FEATURES])
COORDINATES = Space.of(NUMERIC, HORIZON).coordinates(NUMERIC)
CENTROIDS = fit_centroids(COORDINATES, len(GROUPS), starts=5, seed=1)


def test_the_nearest_two_are_those_of_plain_sorting() -> None:
    near = nearest(COORDINATES, CENTROIDS)
    for row, customer in enumerate(COORDINATES):
        distances = [float(np.linalg.norm(customer - centroid)) for centroid in CENTROIDS]
        first, second, *_ = sorted(range(len(CENTROIDS)), key=lambda place: distances[place])
        assert (near.own[row], near.other[row]) == (first, second)
        assert (near.distance[row], near.other_distance[row]) == pytest.approx((distances[first], distances[second]))


def test_groups_are_found_best_first() -> None:
    assert np.array_equal(nearest(COORDINATES, CENTROIDS).own, truth())


def test_the_order_is_that_of_worth_whatever_the_seed() -> None:
    again = fit_centroids(COORDINATES, len(GROUPS), starts=5, seed=2)
    assert np.allclose(again, CENTROIDS)


def test_weights_count_customers_several_times() -> None:
    twice = fit_centroids(np.concatenate([COORDINATES, COORDINATES[:150]]), 4, starts=5, seed=1)
    weights = np.where(np.arange(len(COORDINATES)) < 150, 2.0, 1.0)
    assert np.allclose(fit_centroids(COORDINATES, 4, starts=5, seed=1, weights=weights), twice)


def test_customers_moved_to_a_border_stand_on_both_sides_of_it() -> None:
    near = nearest(COORDINATES, CENTROIDS)
    before, behind = np.split(midway(COORDINATES, CENTROIDS, 1e-4), 2)
    distance = [np.linalg.norm(rows[:, None] - CENTROIDS, axis=2) for rows in (before, behind)]
    rows = np.arange(len(COORDINATES))
    assert (distance[0][rows, near.own] < distance[0][rows, near.other]).all()
    assert (distance[1][rows, near.own] > distance[1][rows, near.other]).all()
