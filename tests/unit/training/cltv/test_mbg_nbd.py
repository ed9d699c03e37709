"""The models against the integrals they are short for, against published figures, and against worlds of known truth."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import roots_genlaguerre, roots_jacobi

from tests.support.spending import ALPHA, A, B, R, dataset, simulate
from training.cltv.mbg_nbd import Histories, PurchaseModel, fit_purchases

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.core.dataset import Dataset

MODELS = [PurchaseModel(0.6, 7.0, 0.8, 2.5, first_may_leave) for first_may_leave in (0, 1)]
HORIZON = 39.0
NODES = 120


def one(repeats: float, last: float, age: float) -> Histories:
    return Histories(np.array([repeats]), np.array([last]), np.array([age]))


HISTORIES = [one(0, 0, 38.9), one(2, 30.4, 38.9), one(7, 29.0, 30.0), one(7, 3.0, 30.0)]


def averaged(model: PurchaseModel, of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """The mean over the population of a function of rate and probability of leaving, by Gaussian quadrature."""
    rates, rate_weights = roots_genlaguerre(NODES, model.r - 1.0)
    leaving, leaving_weights = roots_jacobi(NODES, model.b - 1.0, model.a - 1.0)
    values = of(rates[:, None] / model.alpha, (1.0 + leaving[None, :]) / 2.0)
    return float(rate_weights @ values @ leaving_weights / (rate_weights.sum() * leaving_weights.sum()))


def stories(model: PurchaseModel, history: Histories, rate: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likelihoods of having stayed and of having left, told order by order."""
    x, last, age = (float(values[0]) for values in (history.repeats, history.last, history.age))
    occasions = x + model.first_may_leave
    stayed = (1 - p) ** occasions * rate**x * np.exp(-rate * age)
    left = p * (1 - p) ** (occasions - 1) * rate**x * np.exp(-rate * last) if occasions else 0.0 * rate
    return stayed, left


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("history", HISTORIES)
def test_the_likelihood_is_the_integral_over_the_population(model: PurchaseModel, history: Histories) -> None:
    integral = averaged(model, lambda rate, p: sum(stories(model, history, rate, p), np.zeros(1)))
    assert np.exp(model.log_likelihood(history)[0]) == pytest.approx(integral, rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("history", HISTORIES)
def test_the_orders_to_come_are_the_integral_over_the_population(model: PurchaseModel, history: Histories) -> None:
    def to_come(rate: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.asarray(stories(model, history, rate, p)[0] * -np.expm1(-rate * p * HORIZON) / p)

    expected = averaged(model, to_come) / np.exp(model.log_likelihood(history)[0])
    assert model.expected_orders(history, HORIZON)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_whoever_stayed_away_longer_is_likelier_gone(model: PurchaseModel) -> None:
    last = np.linspace(0.0, 30.0, 20)
    alive = model.alive(Histories(np.full(20, 3.0), last, np.full(20, 30.0)))
    assert (np.diff(alive) > 0).all()
    assert ((alive > 0) & (alive < 1)).all()


def test_only_where_the_first_order_is_an_occasion_may_one_order_be_the_last() -> None:
    alive = {model.first_may_leave: model.alive(HISTORIES[0])[0] for model in MODELS}
    assert alive[0] == 1.0
    assert alive[1] < 0.9


PARAMETER = st.floats(0.05, 20.0)


@given(PARAMETER, PARAMETER, PARAMETER, PARAMETER, st.integers(0, 1), st.integers(0, 500), st.floats(0, 1))
def test_more_time_brings_more_orders_and_no_time_none(
    r: float, alpha: float, a: float, b: float, first_may_leave: int, repeats: int, part: float
) -> None:
    model = PurchaseModel(r, alpha, a, b, first_may_leave)
    history = one(repeats, 50.0 * part * (repeats > 0), 50.0)
    orders = np.array([model.expected_orders(history, horizon)[0] for horizon in (1e-9, 1.0, 10.0, 100.0)])
    assert np.isfinite(orders).all()
    assert orders[0] == pytest.approx(0.0, abs=1e-6)
    assert (np.diff(orders) >= -1e-9).all()
    # Without leaving, orders would come at the rate that is read off the past.
    assert (orders[1:] <= np.array([1.0, 10.0, 100.0]) * (r + repeats) / (alpha + 50.0) * (1 + 1e-6)).all()


@pytest.mark.parametrize("step", [-1e-3, -1e-7, 0.0, 1e-7, 1e-3])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("a", "b"), [(1.0, 2.5), (0.5, 0.5), (0.7, 0.3)])
def test_where_the_formula_has_a_pole_the_expectation_has_none(
    model: PurchaseModel, a: float, b: float, step: float
) -> None:
    for history in HISTORIES:
        near, by = (replace(model, a=a + shift, b=b).expected_orders(history, HORIZON)[0] for shift in (step, 0.01))
        assert near == pytest.approx(by, rel=0.05)


def test_the_unit_of_time_is_nothing() -> None:
    histories = histories_of(dataset())
    days = fit_purchases(histories)
    weeks = fit_purchases(Histories(histories.repeats, histories.last / 7, histories.age / 7))
    assert (weeks.r, 7 * weeks.alpha, weeks.a, weeks.b) == pytest.approx((days.r, days.alpha, days.a, days.b), rel=1e-3)


def histories_of(data: Dataset) -> Histories:
    numeric = data.test.columns.numeric.astype(np.float64)
    return Histories(numeric[:, 2] - 1, numeric[:, 1] - numeric[:, 0], numeric[:, 1])


def test_the_parameters_of_a_world_are_found() -> None:
    orders = simulate(6000, seed=8)
    day = 360.0
    past = orders.day < day
    count = np.bincount(orders.customer[past], minlength=6000).astype(np.float64)
    first, last = np.full(6000, np.inf), np.zeros(6000)
    np.minimum.at(first, orders.customer[past], orders.day[past])
    np.maximum.at(last, orders.customer[past], orders.day[past])
    found = fit_purchases(Histories(count - 1.0, last - first, day - first))
    assert (found.r, found.alpha) == pytest.approx((R, ALPHA), rel=0.1)
    assert found.a / (found.a + found.b) == pytest.approx(A / (A + B), rel=0.25)


def test_the_textbook_example_gives_the_textbook_figures() -> None:
    """Fader, Hardie and Lee, table 2: a tenth of CDNOW's customers, in weeks, up to the end of September 1997."""
    package = find_spec("lifetimes")
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "datasets" / "CDNOW_sample.txt"
    days: dict[str, set[dt.date]] = {}
    for line in file.read_text().splitlines():
        customer, _, day, *_ = line.split()
        days.setdefault(customer, set()).add(dt.date(int(day[:4]), int(day[4:6]), int(day[6:])))
    end = dt.date(1997, 9, 30)
    known = [sorted(day for day in bought if day <= end) for bought in days.values()]
    found = fit_purchases(
        Histories(
            np.array([len(bought) - 1.0 for bought in known]),
            np.array([(bought[-1] - bought[0]).days / 7 for bought in known]),
            np.array([(end - bought[0]).days / 7 for bought in known]),
        ),
        first_may_leave=0,
    )
    assert (found.r, found.alpha, found.a, found.b) == pytest.approx((0.243, 4.414, 0.793, 2.426), abs=0.001)
