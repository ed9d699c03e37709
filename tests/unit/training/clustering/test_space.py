"""The space: logarithms on one scale, and back; what has no spread counts nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.segments import HORIZON, dataset
from training.clustering.space import FEATURES, MONETARY, RECENCY, Space

NUMERIC = dataset(each=40).train.columns.numeric
SPACE = Space.of(NUMERIC, HORIZON)


def test_customers_have_the_mean_zero_and_the_deviation_one() -> None:
    coordinates = SPACE.coordinates(NUMERIC)
    assert np.allclose(coordinates.mean(axis=0), 0.0)
    assert np.allclose(coordinates.std(axis=0), 1.0)


def test_within_the_horizon_a_day_counts_less_than_it_would_among_bare_days() -> None:
    def step(horizon_days: int) -> float:
        space = Space.of(NUMERIC, horizon_days)
        near, far, longest = np.array([[1.0, 9, 9], [3.0, 9, 9], [400.0, 9, 9]], np.float32)
        at = [float(space.coordinates(one[None])[0, RECENCY]) for one in (near, far, longest)]
        return (at[1] - at[0]) / (at[2] - at[0])

    assert step(HORIZON) < step(1) / 3


def test_a_feature_without_spread_tells_nobody_apart() -> None:
    same = NUMERIC.copy()
    same[:, MONETARY] = 9.99
    space = Space.of(same, HORIZON)
    assert space.weights[MONETARY] == 0.0
    later = same.copy()
    later[:, MONETARY] = 1e9
    assert np.array_equal(space.coordinates(later), space.coordinates(same))
    assert np.isfinite(space.customers_at(space.coordinates(same))).all()


@given(arrays(np.float32, (5, len(FEATURES)), elements=st.floats(-(2.0**30), 2.0**30, width=32)))
def test_customers_come_back_from_their_coordinates(numeric: np.ndarray) -> None:
    assert np.allclose(SPACE.customers_at(SPACE.coordinates(numeric)), numeric, rtol=1e-5, atol=1e-3)


@given(arrays(np.float32, (3, len(FEATURES)), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_every_number_has_its_coordinates(numeric: np.ndarray) -> None:
    assert np.isfinite(SPACE.coordinates(numeric)).all()


def test_refunds_lie_on_the_other_side_of_zero() -> None:
    refunded, nothing, spent = (SPACE.coordinates(np.array([[1, 1, x]], np.float32))[0, MONETARY] for x in (-50, 0, 50))
    assert np.isclose(spent - nothing, nothing - refunded)
