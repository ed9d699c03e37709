"""As many customers lie beyond a moved bound as it says, wherever the bound came from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.core.conformal import HAIR, lower_offset, upper_offset

TAIL = 0.1


@given(st.integers(0, 500), st.integers(100, 400), st.floats(-3, 3))
def test_a_tenth_lies_beyond_each_bound_however_wrong_it_was(seed: int, rows: int, wrong: float) -> None:
    random = np.random.default_rng(seed)
    amounts = random.normal(0.0, 1.0, rows)
    bounds = wrong + 0.3 * random.normal(0.0, 1.0, rows)
    lower = bounds + lower_offset(amounts, bounds, np.full(rows, np.inf), TAIL)
    upper = bounds + upper_offset(amounts, bounds, np.full(rows, -np.inf), TAIL)
    for beyond in (amounts < lower, amounts > upper):
        assert TAIL - 3 / rows <= beyond.mean() <= TAIL


def test_who_spent_more_than_expected_is_never_below_the_lower_bound() -> None:
    """Expected amounts cap the bounds, so only those who fell short of them decide."""
    amounts = np.arange(200.0)
    expected = np.where(np.arange(200) % 2, np.inf, -np.inf)
    offset = lower_offset(amounts, np.zeros(200), expected, TAIL)
    below = (amounts < offset) & (amounts < expected)
    assert below.mean() == pytest.approx(TAIL, abs=0.01)


def test_where_too_few_fall_short_of_the_expected_amount_the_bound_stays() -> None:
    amounts, expected = np.ones(200), np.zeros(200)
    assert lower_offset(amounts, amounts, expected, TAIL) == 0.0
    assert upper_offset(-amounts, amounts, -expected, TAIL) == 0.0


def test_an_amount_that_many_share_lies_within_by_a_hair() -> None:
    amounts = np.zeros(200)
    bounds = amounts + 0.5
    assert lower_offset(amounts, bounds, np.full(200, np.inf), TAIL) == pytest.approx(-0.5 - HAIR)
    assert upper_offset(amounts, bounds, np.full(200, -np.inf), TAIL) == pytest.approx(-0.5 + HAIR)
