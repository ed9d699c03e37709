from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model_registry.ordering import CUTS, MOST_CUTS, Ordering, choose_cuts, ordering_of, properties_of

CUTS_OF_THREE = [(0, 0.0), (1, 5.0), (0, -1.0)]

numbers = arrays(
    np.float32, st.tuples(st.integers(0, 60), st.just(2)), elements=st.floats(-9, 9, width=32) | st.just(np.nan)
)


def sides(numeric: np.ndarray) -> np.ndarray:
    return np.stack([numeric[:, feature] <= end for feature, end in CUTS_OF_THREE], axis=1)


@given(numbers)
def test_every_row_has_its_place_and_those_on_the_same_sides_stand_together(numeric: np.ndarray) -> None:
    order = Ordering(CUTS_OF_THREE).of(numeric)
    assert sorted(order.tolist()) == list(range(len(numeric)))
    runs = [tuple(row) for row in sides(numeric)[order].tolist()]
    changes = sum(before != after for before, after in pairwise(runs))
    assert changes == max(len(set(runs)) - 1, 0)


def test_neighbours_differ_in_one_side() -> None:
    every = np.array([[number >> bit & 1 for bit in range(MOST_CUTS)] for number in range(2**MOST_CUTS)], np.float32)
    sorted_ = every[Ordering([(feature, 0.5) for feature in range(MOST_CUTS)]).of(every)]
    assert set(np.abs(np.diff(sorted_, axis=0)).sum(axis=1)) == {1.0}


def test_cuts_lie_where_most_splits_are() -> None:
    thresholds = {4: [1.0, 2.0, 3.0, 4.0, 5.0], 2: [7.0, 8.0, 9.0], 0: [6.0]}
    assert choose_cuts(thresholds)[:3] == [(4, 3.0), (2, 8.0), (4, 2.0)]


@given(st.dictionaries(st.integers(0, 9), st.lists(st.floats(-9, 9, width=32), min_size=1)))
def test_no_cut_is_chosen_twice(thresholds: dict[int, list[float]]) -> None:
    cuts = choose_cuts(thresholds)
    distinct = {(feature, value) for feature, values in thresholds.items() for value in values}
    assert len(set(cuts)) == len(cuts) == min(MOST_CUTS, len(distinct))
    assert distinct.issuperset(cuts)


@given(numbers)
def test_a_graph_hands_its_cuts_over(numeric: np.ndarray) -> None:
    ordering = ordering_of(properties_of(CUTS_OF_THREE), features=2)
    assert ordering is not None
    assert ordering.of(numeric).tolist() == Ordering(CUTS_OF_THREE).of(numeric).tolist()


def test_a_graph_without_cuts_asks_for_no_order() -> None:
    assert properties_of([]) == {}
    assert ordering_of({"other": "1"}, features=2) is None


@pytest.mark.parametrize(
    "text",
    ["", "1", "[1]", "[[0]]", "[]", "[[2, 1.0]]", "[[-1, 1.0]]", '[["x", 1.0]]', "[[0, null]]", str([[0, 1.0]] * 9)],
)
def test_cuts_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's, float's or ours
        ordering_of({CUTS: text}, features=2)
