"""Metrics of amounts against SciPy, against laws, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from training.core.amounts import Foreseen
from training.core.evaluate import Ranking, advantage
from training.core.value_metrics import ValueBootstrap


def customers(rows: int, seed: int, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Expected amounts, rounded so that many are equal, and amounts of which many are zero."""
    random = np.random.default_rng(seed)
    expected = random.gamma(0.5, 2.0, rows)
    amounts = np.where(random.random(rows) < 0.4, 0.0, expected * random.gamma(2.0, 0.5, rows))
    amounts[:2] = 0.0, 1.0
    return np.round(expected, digits) + 0.01, np.round(amounts, digits)


@given(st.integers(0, 1000), st.integers(50, 200), st.integers(0, 2))
def test_the_rank_correlation_is_that_of_scipy_ties_included(seed: int, rows: int, digits: int) -> None:
    expected, amounts = customers(rows, seed, digits)
    found = ValueBootstrap(amounts, resamples=2).ranking(expected)["rank_correlation"].estimate
    assert found == pytest.approx(spearmanr(expected, amounts).statistic)


@given(st.integers(0, 1000), st.integers(50, 200))
def test_the_gini_of_an_outcome_is_twice_its_auc_less_one(seed: int, rows: int) -> None:
    scores, amounts = customers(rows, seed)
    outcome = (amounts > 0).astype(np.float64)
    found = ValueBootstrap(outcome, resamples=2).ranking(scores)["gini"].estimate
    assert found == pytest.approx(2 * roc_auc_score(outcome, scores) - 1)


@given(st.integers(0, 100), st.floats(1e-3, 1e9))
def test_a_gini_is_one_for_the_perfect_order_minus_one_for_its_reverse_and_nothing_for_no_order(
    seed: int, unit: float
) -> None:
    _, amounts = customers(50, seed, digits=6)
    bootstrap = ValueBootstrap(unit * amounts, resamples=2)
    assert bootstrap.ranking(amounts)["gini"].estimate == pytest.approx(1.0)
    assert bootstrap.ranking(-amounts)["gini"].estimate == pytest.approx(-1.0)
    for figure in ("gini", "rank_correlation"):
        assert bootstrap.ranking(np.zeros(50))[figure].estimate == pytest.approx(0.0)


def test_a_tie_earns_what_its_orders_would_on_average() -> None:
    amounts = np.array([8.0, 3.0, 1.0, 0.0])
    bootstrap = ValueBootstrap(amounts, resamples=2)
    tied, one, other = (
        bootstrap.ranking(np.array(scores))["gini"].estimate
        for scores in ([4.0, 2.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0], [4.0, 2.0, 3.0, 1.0])
    )
    assert tied == pytest.approx((one + other) / 2)
    assert one == pytest.approx(1.0)


def test_levels_and_bounds_by_hand() -> None:
    amounts = np.array([0.0, 10.0, 30.0, 60.0])
    foreseen = Foreseen(
        expected=np.array([5.0, 15.0, 30.0, 60.0]),
        lower=np.array([0.0, 12.0, 10.0, 60.0]),
        upper=np.array([9.0, 20.0, 50.0, 60.0]),
    )
    found = {name: one.estimate for name, one in ValueBootstrap(amounts, resamples=2).intervals(foreseen).items()}
    assert found["aggregate_ratio"] == pytest.approx(1.1)
    assert found["mae"] == pytest.approx(2.5)
    assert found["coverage"] == pytest.approx(0.75)
    assert found["interval_width"] == pytest.approx((9 + 8 + 40 + 0) / 100)


def test_the_top_tenth_is_that_of_the_ranking() -> None:
    amounts = np.concatenate([[70.0, 10.0], np.full(18, 20.0 / 18)])
    scores = np.arange(20.0, 0.0, -1.0)
    assert ValueBootstrap(amounts, resamples=2).ranking(scores)["top_decile_share"].estimate == pytest.approx(0.8)


@given(st.integers(0, 30))
def test_an_interval_contains_its_estimate_and_is_no_point(seed: int) -> None:
    expected, amounts = customers(300, seed)
    foreseen = Foreseen(expected, 0.5 * expected, 2.0 * expected)
    for sample in ValueBootstrap(amounts, resamples=100).intervals(foreseen).values():
        interval = sample.interval()
        assert interval.low < interval.estimate < interval.high


def test_differences_are_paired() -> None:
    expected, amounts = customers(400, 3)
    bootstrap = ValueBootstrap(amounts, resamples=100)
    difference = advantage("gini", bootstrap.values(expected), bootstrap.ranking(7.0 * expected))
    assert (difference.estimate, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_a_customer_drawn_twice_is_two_customers() -> None:
    expected, amounts = customers(60, 4)
    weights = np.random.default_rng(0).integers(0, 3, (1, 60))
    twice = np.repeat(np.arange(60), weights[0])
    weighted = ValueBootstrap(amounts)._order_metrics(Ranking(expected, amounts), weights.astype(np.float64))
    repeated = ValueBootstrap(amounts[twice], resamples=2).values(expected[twice])
    for name, figure in weighted.items():
        assert figure[0] == pytest.approx(repeated[name].estimate)
