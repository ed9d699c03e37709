"""Money by group."""

from __future__ import annotations

import numpy as np
import pytest

from audits.amount import Amounts, money_figures
from tests.support.worlds import cltv_world, partition, policy

WORLD = cltv_world(1, 3000)
VALUE = Amounts.of(WORLD, policy(), "expected_value", "revenue", title="Value")
WEST = WORLD.attributes[1].rows("west")
NORTH = WORLD.attributes[1].rows("north")


def test_figures_are_what_their_names_say() -> None:
    expected, actual = VALUE.expected[WEST], VALUE.actual[WEST]
    errors = expected - actual
    wanted = {
        "mean_actual": actual.mean(),
        "total_ratio": expected.sum() / actual.sum(),
        "signed_error": errors.mean(),
        "mae": np.abs(errors).mean(),
        "error": np.abs(errors).mean() / actual.mean(),
        "rmse": np.sqrt((errors**2).mean()),
        "coverage": (actual <= 3.0 * expected).mean(),
        "top_decile_recall": VALUE.ranked[WEST][VALUE.valuable[WEST]].mean(),
        "reached": VALUE.reached[WEST].mean(),
        "reached_ratio": VALUE.reached[WEST].mean() / VALUE.reached[NORTH].mean(),
    }
    figures = VALUE.figures(WEST, NORTH)
    assert {name: figure.estimate for name, figure in figures.items()} == pytest.approx(wanted)
    assert list(figures) == list(VALUE.meanings)
    assert all(figure.low <= figure.estimate <= figure.high for figure in figures.values())


def test_ten_times_the_money_is_ten_times_the_error_and_the_same_ratio() -> None:
    small, large = (money_figures(scale * VALUE.expected, scale * VALUE.actual) for scale in (1.0, 10.0))
    assert large["mae"].value == pytest.approx(10.0 * small["mae"].value)
    ratio = large["error"].over(small["error"])
    assert ratio.value == pytest.approx(1.0)
    assert ratio.error == pytest.approx(np.sqrt(2.0) * small["error"].error)


def test_a_group_needs_customers_and_some_who_pay() -> None:
    assert VALUE.enough(WEST[:200])
    assert not VALUE.enough(WEST[:199])
    assert not VALUE.enough(np.flatnonzero(VALUE.actual == 0.0)[:400])
    assert set(VALUE.figures(WEST[:100], NORTH)) == {"reached", "reached_ratio"}


def test_levels_are_judged_of_every_group_and_errors_against_the_reference() -> None:
    gated = [(one.metric, one.group) for one in VALUE.gated(WORLD.attributes[1])]
    assert ("total_ratio", "north") in gated
    assert ("error_ratio", "north") not in gated
    assert ("error_ratio", "west") in gated


def test_without_a_reference_that_is_large_enough_errors_are_not_compared() -> None:
    parted = partition("size", ["a" if row < 150 else "b" if row < 300 else "unknown" for row in range(len(WORLD))])
    assert list(VALUE.gated(parted)) == []


def test_who_paid_nothing_is_not_among_the_valuable() -> None:
    poor = cltv_world(2, 300)
    poor.labels["revenue"][20:] = 0.0
    seldom = Amounts.of(poor, policy(), "expected_value", "revenue", title="Value")
    assert 0 < seldom.valuable.sum() <= 20


def test_whom_it_reaches_may_be_chance() -> None:
    assert 0.0 < VALUE.chance(WORLD.attributes[0])["reached"] <= 1.0
    assert VALUE.options(WORLD.attributes[0], "total_ratio") == ()
