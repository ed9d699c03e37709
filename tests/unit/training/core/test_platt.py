"""The line is the maximum likelihood line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from training.core.platt import fit_line, sigmoid

RANDOM = np.random.default_rng(1)
MARGINS = RANDOM.normal(-1.5, 2.0, 3000)
LABELS = (RANDOM.random(3000) < sigmoid(0.7 * MARGINS + 0.4)).astype(np.float64)


def test_the_line_is_that_of_an_unpenalised_logistic_regression() -> None:
    slope, intercept = fit_line(MARGINS, LABELS, np.ones((1, len(LABELS))))
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(MARGINS[:, None], LABELS)
    assert slope[0] == pytest.approx(reference.coef_[0, 0], abs=1e-4)
    assert intercept[0] == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_the_mean_probability_is_the_base_rate() -> None:
    slope, intercept = fit_line(MARGINS, LABELS, np.ones((1, len(LABELS))))
    assert sigmoid(slope[0] * MARGINS + intercept[0]).mean() == pytest.approx(LABELS.mean(), abs=1e-9)


@pytest.mark.parametrize("skew", [0.5, 1.5])
def test_rare_outcomes_and_skewed_margins_do_not_throw_it_off(skew: float) -> None:
    random = np.random.default_rng(3)
    margins = -3.0 + 0.1 * random.lognormal(0.0, skew, 4000)
    labels = (random.random(4000) < sigmoid(margins)).astype(np.float64)
    slope, intercept = fit_line(margins, labels, np.ones((1, 4000)))
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(margins[:, None], labels)
    assert slope[0] == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    assert intercept[0] == pytest.approx(reference.intercept_[0], rel=1e-3)


def test_a_weight_of_two_is_the_customer_twice() -> None:
    weights = RANDOM.integers(0, 3, (2, len(LABELS)))
    slopes, intercepts = fit_line(MARGINS, LABELS, weights.astype(np.float64))
    for weight, slope, intercept in zip(weights, slopes, intercepts, strict=True):
        margins, labels = np.repeat(MARGINS, weight), np.repeat(LABELS, weight)
        once = fit_line(margins, labels, np.ones((1, len(labels))))
        assert (slope, intercept) == pytest.approx((once[0][0], once[1][0]), abs=1e-6)


@given(st.floats(-1e6, 1e6))
def test_a_sigmoid_is_a_probability_and_mirrors(margin: float) -> None:
    up, down = sigmoid(np.array([margin, -margin]))
    assert 0.0 <= up <= 1.0
    assert up + down == pytest.approx(1.0)
