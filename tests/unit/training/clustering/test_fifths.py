"""Fifths: of equal size where values differ, and one where they do not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.clustering.fifths import Fifths
from training.clustering.space import FREQUENCY, MONETARY, RECENCY

NUMBERS = arrays(np.float32, st.tuples(st.integers(1, 60), st.just(3)), elements=st.floats(-1e6, 1e6, width=32))


def columns(values: list[float]) -> np.ndarray:
    return np.repeat(np.array(values, np.float32)[:, None], 3, axis=1)


def test_a_hundred_different_customers_make_five_fifths_of_twenty() -> None:
    numeric = columns(list(range(100)))
    scores = Fifths.of(numeric).scores(numeric)
    assert scores[:, FREQUENCY].tolist() == [1 + place // 20 for place in range(100)]
    assert scores[:, RECENCY].tolist() == [5 - place // 20 for place in range(100)]


def test_equal_values_are_in_one_fifth_at_the_middle_of_their_ranks() -> None:
    # One order for the first 60 of 100: ranks up to .6, their middle at .3, so the second fifth.
    numeric = columns([1.0] * 60 + [2.0] * 30 + [9.0] * 10)
    scores = Fifths.of(numeric).scores(numeric)[:, MONETARY]
    assert (scores[0], scores[60], scores[99]) == (2.0, 4.0, 5.0)


def test_where_all_are_equal_all_are_in_the_middle() -> None:
    assert (Fifths.of(columns([7.0] * 10)).scores(columns([7.0])) == 3.0).all()


def test_a_limit_is_exact_to_the_last_bit() -> None:
    fifths = Fifths.of(columns(list(range(100))))
    limit = fifths.limits[FREQUENCY, 0]
    at, above = (fifths.scores(columns([value]))[0, FREQUENCY] for value in (limit, np.nextafter(limit, np.inf)))
    assert (at, above) == (1.0, 2.0)


@given(NUMBERS)
def test_more_never_scores_less_and_limits_ascend(numeric: np.ndarray) -> None:
    fifths = Fifths.of(numeric)
    scores = fifths.scores(numeric)
    assert set(np.unique(scores)) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert (np.diff(fifths.limits, axis=1) >= 0).all()
    for column, sign in ((RECENCY, -1), (FREQUENCY, 1), (MONETARY, 1)):
        order = np.argsort(numeric[:, column], kind="stable")
        assert (sign * np.diff(scores[order, column]) >= 0).all()
