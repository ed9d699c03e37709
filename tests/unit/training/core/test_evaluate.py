"""Metrics against scikit-learn, intervals against what intervals must do."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from training.core.evaluate import Bootstrap, Ranking, Sample, advantage, level_metrics
from training.core.platt import sigmoid


def customers(rows: int, seed: int, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities, rounded so that many are equal, and labels drawn from them."""
    random = np.random.default_rng(seed)
    probabilities = sigmoid(random.normal(-1.0, 1.5, rows))
    labels = (random.random(rows) < probabilities).astype(np.float64)
    labels[:2] = 0.0, 1.0
    return np.round(probabilities, digits), labels


@given(st.integers(0, 1000), st.integers(10, 300), st.integers(1, 3))
def test_estimates_are_those_of_scikit_learn_ties_included(seed: int, rows: int, digits: int) -> None:
    probabilities, labels = customers(rows, seed, digits)
    weights = np.random.default_rng(seed).integers(0, 4, (1, rows)).astype(np.float64)
    weights[0, :2] = 1.0
    found = Ranking(probabilities, labels).metrics(weights) | level_metrics(probabilities, labels, weights)
    kept = np.clip(probabilities, 1e-6, 1 - 1e-6)
    weight = weights[0]
    assert found["auc"][0] == pytest.approx(roc_auc_score(labels, probabilities, sample_weight=weight))
    assert found["average_precision"][0] == pytest.approx(
        average_precision_score(labels, probabilities, sample_weight=weight)
    )
    assert found["brier"][0] == pytest.approx(brier_score_loss(labels, probabilities, sample_weight=weight))
    assert found["log_loss"][0] == pytest.approx(log_loss(labels, kept, sample_weight=weight))


def test_the_top_tenth_is_found_by_hand() -> None:
    # 20 customers, two at the top, one of them and two others with the outcome.
    scores = np.arange(20, 0, -1).astype(np.float64)
    labels = np.zeros(20)
    labels[[0, 7, 19]] = 1.0
    found = Ranking(scores, labels).metrics(np.ones((1, 20)))
    assert found["top_decile_share"][0] == pytest.approx(1 / 3)
    assert found["lift_top_decile"][0] == pytest.approx(10 / 3)


def test_a_tie_across_the_top_tenth_is_cut_in_proportion() -> None:
    labels = np.array([1.0, *[0.0] * 9])
    found = Ranking(np.zeros(10), labels).metrics(np.ones((1, 10)))
    assert found["top_decile_share"][0] == pytest.approx(0.1)


def test_levels_are_found_by_hand() -> None:
    probabilities, labels = np.array([0.25, 0.25, 0.5, 0.5]), np.array([0.0, 1.0, 0.0, 1.0])
    found = level_metrics(probabilities, labels, np.ones((1, 4)))
    assert found["observed_expected"][0] == pytest.approx(2 / 1.5)
    assert found["calibration_slope"][0] == pytest.approx(0.0, abs=1e-6)


def test_doubled_log_odds_have_half_the_slope() -> None:
    random = np.random.default_rng(0)
    margins = random.normal(0, 1, 20_000)
    labels = (random.random(20_000) < sigmoid(margins)).astype(np.float64)
    found = level_metrics(sigmoid(2 * margins), labels, np.ones((1, 20_000)))
    assert found["calibration_slope"][0] == pytest.approx(0.5, abs=0.03)


@given(st.integers(0, 50))
def test_an_interval_contains_its_estimate_and_is_no_point(seed: int) -> None:
    probabilities, labels = customers(300, seed)
    for sample in Bootstrap(labels, resamples=200).probabilities(probabilities).values():
        interval = sample.interval()
        assert interval.low < interval.estimate < interval.high


def test_the_interval_covers_what_it_says() -> None:
    """95 % intervals of a mean squared error, over worlds whose truth is known: 95 of 100, give or take."""
    truth = 0.25 * 0.75  # Brier score of the constant 0.25 where a quarter have the outcome
    hits = 0
    for seed in range(200):
        labels = (np.random.default_rng(seed).random(200) < 0.25).astype(np.float64)
        labels[:2] = 0.0, 1.0
        interval = Bootstrap(labels, resamples=200).probabilities(np.full(200, 0.25))["brier"].interval()
        hits += interval.low <= truth <= interval.high
    assert 0.90 * 200 <= hits <= 0.99 * 200


def test_differences_are_paired() -> None:
    probabilities, labels = customers(400, 3, digits=6)
    bootstrap = Bootstrap(labels, resamples=200)
    model = bootstrap.probabilities(probabilities)
    same_order = bootstrap.ranking(probabilities * 7.0)
    difference = advantage("auc", model, same_order)
    assert (difference.estimate, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_better_is_positive_whichever_way_the_metric_points() -> None:
    probabilities, labels = customers(400, 4, digits=6)
    bootstrap = Bootstrap(labels, resamples=100)
    model, coin = bootstrap.probabilities(probabilities), bootstrap.probabilities(np.full(400, 0.5))
    for metric in ("auc", "average_precision", "brier", "log_loss"):
        assert advantage(metric, model, coin).low > 0
        assert advantage(metric, coin, model).high < 0


def test_the_same_seed_gives_the_same_interval_however_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, labels = customers(100, 5)
    whole = Bootstrap(labels, resamples=50).ranking(probabilities)["auc"].resampled
    monkeypatch.setattr("training.core.evaluate.CELLS", 700)
    cut = Bootstrap(labels, resamples=50).ranking(probabilities)["auc"].resampled
    assert len(cut) == 50
    assert np.array_equal(whole, cut)


def test_a_snapshot_is_judged_within_seconds() -> None:
    probabilities, labels = customers(2400, 6, digits=8)
    started = time.perf_counter()
    Bootstrap(labels).probabilities(probabilities)
    assert time.perf_counter() - started < 5.0


def test_a_percentile_interval_by_hand() -> None:
    interval = Sample(50.0, np.arange(101.0)).interval()
    assert (interval.low, interval.high) == (2.5, 97.5)
