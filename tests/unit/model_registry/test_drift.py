"""Drift: the laws of the index, and how often its limit errs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from model_registry.distributions import count_numbers, distribution_of_numbers
from model_registry.drift import CONFIDENCE, TOLERATED, is_sufficient, psi, psi_limit, shift

COUNTS = st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any)
PAIRS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=12).map(
    lambda pairs: ([1 + one for one, _ in pairs], [other for _, other in pairs[:-1]] + [1])
)
"""Two counts of the same bins."""


def shares(counts: list[int]) -> tuple[np.ndarray, int]:
    return np.array(counts) / sum(counts), sum(counts)


class TestIndex:
    @given(COUNTS, st.integers(1, 20))
    def test_equal_shares_have_not_moved(self, counts: list[int], times: int) -> None:
        then, customers = shares(counts)
        assert psi(then, then, customers, customers * times) == 0.0

    @given(PAIRS)
    def test_it_is_never_negative_and_takes_no_side(self, both: tuple[list[int], list[int]]) -> None:
        (then, before), (now, after) = map(shares, both)
        index = psi(then, now, before, after)
        assert index >= 0.0
        assert np.isfinite(index)
        assert index == pytest.approx(psi(now, then, after, before))

    @given(PAIRS, st.floats(0, 1), st.floats(0, 1))
    def test_it_grows_with_the_way(self, both: tuple[list[int], list[int]], one: float, other: float) -> None:
        (then, customers), (end, _) = map(shares, both)
        near, far = (then + way * (end - then) for way in sorted((one, other)))
        assert psi(then, near, customers, 1000) <= psi(then, far, customers, 1000) + 1e-12

    def test_the_textbook_figure(self) -> None:
        # (.2 - .5) ln(.2 / .5) + (.8 - .5) ln(.8 / .5)
        assert psi(np.array([0.5, 0.5]), np.array([0.2, 0.8]), 1000, 1000) == pytest.approx(0.41589, abs=1e-5)

    def test_an_empty_bin_counts_as_half_a_customer(self) -> None:
        index = psi(np.array([1.0, 0.0]), np.array([0.5, 0.5]), 50, 50)
        assert index == pytest.approx(-0.5 * np.log(0.5) + 0.49 * np.log(0.5 / 0.01))

    def test_the_limit_is_custom_among_many_and_chance_among_few(self) -> None:
        assert psi_limit(10, 2308, 2322) == TOLERATED
        # 21.666 is the 99th percentile of chi-square with 9 degrees of freedom.
        assert psi_limit(10, 100, 100) == pytest.approx(21.666 * 0.02, rel=2e-3)
        assert psi_limit(1, 100, 100) > TOLERATED

    @pytest.mark.parametrize("bins", range(2, 200))
    def test_the_limit_of_chance_is_the_percentile_of_chi_square_as_closely_as_stated(self, bins: int) -> None:
        exact = chi2.ppf(CONFIDENCE, bins - 1) * 0.2
        assert psi_limit(bins, 10, 10) == pytest.approx(exact, rel=0.008 if bins == 2 else 0.0025)

    def test_bins_that_nobody_is_in_on_either_side_do_not_count(self) -> None:
        found = shift([0.5, 0.0, 0.5], [0.2, 0.0, 0.8], 100, 100)
        assert found == shift([0.5, 0.5], [0.2, 0.8], 100, 100)
        assert found.drifted
        assert not shift([0.5, 0.5], [0.5, 0.5], 100, 100).drifted

    def test_six_hundred_beside_six_hundred_are_enough(self) -> None:
        assert is_sufficient(600, 600)
        assert not is_sufficient(600, 599)
        assert not is_sufficient(300, 1_000_000)


class TestErrorRates:
    """Of samples of one world."""

    def test_chance_alone_passes_the_limit_about_once_in_a_hundred_times(self) -> None:
        random = np.random.default_rng(1)
        rounds, size = 1000, 250
        alarms = 0
        for _ in range(rounds):
            frozen = distribution_of_numbers(random.exponential(1.0, size).astype(np.float32))
            now = count_numbers(random.exponential(1.0, size).astype(np.float32), frozen.edges) / size
            alarms += psi(np.array(frozen.shares), now, size, size) > psi_limit(10, size, size)
        assert 1 <= alarms <= 25, "1 % stated; .025 is three standard errors above it and the price of chi-square"

    def test_an_audit_that_may_conclude_gives_hardly_a_false_alarm(self) -> None:
        random = np.random.default_rng(2)
        audits, inputs, size = 60, 30, 600
        false = 0
        for _ in range(audits):
            then, now = (random.lognormal(0.0, 1.0, (inputs, size)).astype(np.float32) for _ in range(2))
            spreads = map(distribution_of_numbers, then)
            false += any(
                psi(np.array(one.shares), count_numbers(values, one.edges) / size, size, size)
                > psi_limit(10, size, size)
                for one, values in zip(spreads, now, strict=True)
            )
        assert false <= 4, "2 % of audits at the smallest size"
