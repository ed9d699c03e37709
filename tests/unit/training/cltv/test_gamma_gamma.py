"""The value of an order: a density that is one, a mean between two means, a truth that is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.support.spending import GAMMA, P, Q
from training.cltv.gamma_gamma import SpendModel, fit_spend

TEXTBOOK = SpendModel(6.25, 3.74, 15.44)
"""CDNOW's, of Fader and Hardie's note."""


@pytest.mark.parametrize("orders", [1.0, 2.0, 9.0])
def test_the_likelihood_is_a_density_of_the_mean_value(orders: float) -> None:
    def density(value: float) -> float:
        return float(np.exp(TEXTBOOK.log_likelihood(np.array([orders]), np.array([value]))[0]))

    assert quad(density, 0.0, np.inf)[0] == pytest.approx(1.0, rel=1e-6)


def test_the_population_is_worth_the_textbooks_mean() -> None:
    nobody = TEXTBOOK.expected_value(np.zeros(1), np.zeros(1))[0]
    assert nobody == pytest.approx(6.25 * 15.44 / 2.74)


@given(st.floats(0.1, 50), st.floats(1.05, 50), st.floats(0.1, 1000), st.integers(1, 1000), st.floats(0.01, 1e5))
def test_an_order_is_worth_between_the_populations_mean_and_the_customers(
    p: float, q: float, scale: float, orders: int, value: float
) -> None:
    model = SpendModel(p, q, scale)
    population = p * scale / (q - 1)
    expected = model.expected_value(np.array([float(orders)]), np.array([value]))[0]
    low, high = sorted((population, value))
    assert low * (1 - 1e-9) <= expected <= high * (1 + 1e-9)


def world(customers: int, unit: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    orders = random.integers(1, 20, customers).astype(np.float64)
    mean = P * GAMMA / random.gamma(Q, 1.0, customers)
    return orders, unit * random.gamma(P * orders, mean / (P * orders))


def test_the_parameters_of_a_world_are_found() -> None:
    found = fit_spend(*world(20_000))
    assert (found.p, found.q, found.gamma) == pytest.approx((P, Q, GAMMA), rel=0.1)


def test_a_smaller_unit_of_money_is_a_larger_scale() -> None:
    one, other = fit_spend(*world(2000)), fit_spend(*world(2000, unit=1e6))
    assert (other.p, other.q, other.gamma) == pytest.approx((one.p, one.q, 1e6 * one.gamma), rel=1e-3)


def test_where_every_order_costs_the_same_it_is_expected_to() -> None:
    orders, value = np.arange(1.0, 101.0), np.full(100, 9.99)
    assert fit_spend(orders, value).expected_value(orders, value) == pytest.approx(value, rel=0.02)
