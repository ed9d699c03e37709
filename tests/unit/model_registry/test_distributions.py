"""Values to bins: nobody is lost, and the customers that froze the bins are spread over them as frozen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model_registry.distributions import (
    count_numbers,
    count_texts,
    distribution_of_numbers,
    distribution_of_texts,
)

NUMBERS = arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32) | st.just(np.float32("nan")))
CATEGORIES = st.lists(st.sampled_from(["", "shop", "web", "kiosk"]), min_size=1).map(lambda one: np.array(one, object))


@given(NUMBERS)
def test_the_customers_that_froze_the_bins_are_spread_as_frozen(values: np.ndarray) -> None:
    frozen = distribution_of_numbers(values)
    assert frozen.customers == len(values)
    assert frozen.missing == np.isnan(values).mean()
    np.testing.assert_array_equal(count_numbers(values, frozen.edges) / len(values), frozen.shares)


@given(NUMBERS, NUMBERS)
def test_every_number_is_in_one_bin(then: np.ndarray, now: np.ndarray) -> None:
    frozen = distribution_of_numbers(then)
    assert count_numbers(now, frozen.edges).sum() == (~np.isnan(now)).sum()


@given(NUMBERS)
def test_no_bin_is_empty_when_it_is_frozen(values: np.ndarray) -> None:
    frozen = distribution_of_numbers(values)
    assert all(share > 0 for share in frozen.shares) or frozen.missing == 1.0


def test_many_values_make_deciles() -> None:
    frozen = distribution_of_numbers(np.arange(1000, dtype=np.float32))
    assert frozen.edges == (99.0, 199.0, 299.0, 399.0, 499.0, 599.0, 699.0, 799.0, 899.0)
    assert frozen.shares == pytest.approx([0.1] * 10, abs=2e-3)


def test_few_values_are_a_bin_each_however_rare() -> None:
    frozen = distribution_of_numbers(np.array([1.0] * 90 + [2.0] * 9 + [3.0], np.float32))
    assert frozen.edges == (2.0, 3.0)
    assert frozen.shares == (0.9, 0.09, 0.01)


@pytest.mark.parametrize("heap", [0.0, 25.0, 99.0])
def test_a_value_that_many_share_has_a_bin_of_its_own(heap: float) -> None:
    values = np.concatenate([np.full(500, heap), np.arange(100.0), np.arange(100.0)]).astype(np.float32)
    frozen = distribution_of_numbers(values)
    place = np.searchsorted(frozen.edges, heap, side="right")
    assert frozen.shares[place] == pytest.approx(502 / 700)


def test_bins_may_be_given() -> None:
    clusters = distribution_of_numbers(np.array([1, 1, 2, 4], np.float32), edges=[2.0, 3.0, 4.0])
    assert clusters.shares == (0.5, 0.25, 0.0, 0.25)


def test_a_feature_that_is_always_missing_has_one_empty_bin() -> None:
    frozen = distribution_of_numbers(np.full(3, np.nan, np.float32))
    assert (frozen.edges, frozen.shares, frozen.missing) == ((), (0.0,), 1.0)


@given(CATEGORIES)
def test_categories_are_counted_by_their_place_in_the_vocabulary(values: np.ndarray) -> None:
    counts, unseen = count_texts(values, ("shop", "web"))
    assert counts.tolist() == [(values == "shop").sum(), (values == "web").sum()]
    assert unseen == (values == "kiosk").sum()
    frozen = distribution_of_texts(values, ("shop", "web"))
    assert frozen.missing == (values == "").mean()
    assert frozen.unseen == unseen / len(values)
    assert frozen.edges == ()
