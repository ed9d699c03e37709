"""The line brings totals to where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import PoissonRegressor

from training.core.level import fit_log_line


def world(seed: int, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and amounts of which half are zero, whose mean is exp(0.8 * margin + 2)."""
    random = np.random.default_rng(seed)
    margins = random.normal(-0.5, 1.0, rows)
    amounts = np.exp(0.8 * margins + 2.0) * random.gamma(1.0, 2.0, rows) * (random.random(rows) < 0.5)
    return margins, amounts


def test_the_line_is_that_of_an_unpenalised_poisson_regression() -> None:
    margins, amounts = world(0)
    slope, intercept = fit_log_line(margins, amounts)
    reference = PoissonRegressor(alpha=0.0, tol=1e-10, max_iter=1000).fit(margins[:, None], amounts)
    assert slope == pytest.approx(reference.coef_[0], rel=1e-4)
    assert intercept == pytest.approx(reference.intercept_, rel=1e-4)


def test_it_finds_the_truth() -> None:
    slope, intercept = fit_log_line(*world(1, rows=100_000))
    assert (slope, intercept) == pytest.approx((0.8, 2.0), abs=0.05)


@given(st.integers(0, 100), st.floats(1e-3, 1e9), st.floats(-5.0, 5.0))
def test_totals_are_right_in_any_currency_and_for_high_margins_as_for_low_ones(
    seed: int, unit: float, shift: float
) -> None:
    margins, amounts = world(seed, rows=300)
    margins, amounts = 3.0 * margins + shift, unit * amounts
    slope, intercept = fit_log_line(margins, amounts)
    foreseen = np.exp(slope * margins + intercept)
    assert foreseen.sum() == pytest.approx(amounts.sum(), rel=1e-6)
    assert margins @ foreseen == pytest.approx(margins @ amounts, rel=1e-5, abs=1e-5 * amounts.sum())


def test_one_margin_for_all_gives_the_mean() -> None:
    slope, intercept = fit_log_line(np.full(50, 3.0), np.arange(50.0))
    assert np.exp(slope * 3.0 + intercept) == pytest.approx(24.5)


def test_margins_against_the_amounts_have_a_negative_slope() -> None:
    margins, amounts = world(2)
    assert fit_log_line(-margins, amounts)[0] < 0
