from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from features.errors import TableError, TooLittleError
from features.horizon import churn_horizon, cltv_horizon, propensity_horizon
from features.sections import Churn, Cltv, Propensity
from features.snapshot import data_window

if TYPE_CHECKING:
    from tests.unit.features.conftest import BuildShop

FIRST = dt.datetime.fromisoformat("2024-01-01")
FUTURE = dt.datetime.fromisoformat("2999-01-01")


def orders_with_gaps(gaps: list[float]) -> list[dict[str, Any]]:
    at, rows = FIRST, [{"who": "ann", "at": FIRST, "paid": 1.0, "basket": "0"}]
    for number, gap in enumerate(gaps, 1):
        at += dt.timedelta(days=gap)
        rows.append({"who": "ann", "at": at, "paid": 1.0, "basket": str(number)})
    return rows


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([7] * 20, 7),
        ([3] * 19 + [100], 7),  # 19 of 20 gaps are covered by a week
        ([3] * 18 + [20] * 2, 30),  # 18 of 20 are not enough
        ([400, 400], 365),  # nothing covers them: the longest
    ],
)
def test_the_horizon_covers_95_of_100_gaps(shop: BuildShop, gaps: list[float], expected: int) -> None:
    assert churn_horizon(Churn(), shop(orders_with_gaps(gaps))) == expected


def test_the_projects_own_horizon_wins(shop: BuildShop) -> None:
    assert churn_horizon(Churn(horizon_days=45), shop(orders_with_gaps([1]))) == 45


def test_gaps_that_close_later_do_not_count(shop: BuildShop) -> None:
    tables = shop(orders_with_gaps([5, 5, 5, 200]))
    assert churn_horizon(Churn(), tables, as_of=FIRST.date() + dt.timedelta(days=16)) == 7
    assert churn_horizon(Churn(), tables) == 365


@pytest.mark.parametrize(("gaps", "expected"), [([3, 3, 20, 20], 7), ([8, 8, 8, 8, 200], 14), ([400], 365)])
def test_propensity_looks_as_far_as_half_of_the_gaps(shop: BuildShop, gaps: list[float], expected: int) -> None:
    tables = shop(orders_with_gaps(gaps))
    assert propensity_horizon(Propensity(), tables) == expected
    assert propensity_horizon(Propensity(horizon_days=45), tables) == 45


@pytest.mark.parametrize(("history", "expected"), [(0, 30), (89, 30), (179, 30), (180, 60), (364, 90), (5000, 365)])
def test_value_looks_as_far_as_a_third_of_the_history(history: int, expected: int) -> None:
    assert cltv_horizon(Cltv(), history) == expected
    assert cltv_horizon(Cltv(horizon_days=45), history) == 45


@pytest.mark.parametrize(
    ("horizon", "section", "key"),
    [
        (churn_horizon, Churn(), "churn.horizon_days"),
        (propensity_horizon, Propensity(), "propensity.horizon_days"),
    ],
)
def test_no_gap_is_no_horizon(shop: BuildShop, horizon: Any, section: Any, key: str) -> None:
    with pytest.raises(TooLittleError, match=rf"no customer with two orders\. Set {key}"):
        horizon(section, shop(orders_with_gaps([])))
    with pytest.raises(TooLittleError, match="not mapped"):
        horizon(section, shop(people=[], roles={"churned": "left"}))


def test_orders_dated_in_the_future_close_no_gap(shop: BuildShop) -> None:
    far = {"who": "ann", "at": FUTURE, "paid": 1.0, "basket": "typo"}
    assert churn_horizon(Churn(), shop([*orders_with_gaps([5] * 10), far])) == 7


def test_rows_dated_in_the_future_stretch_no_window(shop: BuildShop) -> None:
    far = {"who": "ann", "at": FUTURE, "paid": 1.0, "basket": "typo"}
    assert data_window(shop([*orders_with_gaps([3]), far])) == (FIRST, FIRST + dt.timedelta(days=3))


def test_refunds_stretch_no_window(shop: BuildShop) -> None:
    refunds = [
        {"who": "ann", "at": FIRST - dt.timedelta(days=9), "paid": -1.0, "basket": "of an order before the data"},
        {"who": "ann", "at": FIRST + dt.timedelta(days=40), "paid": 1.0, "basket": "late", "returned": True},
    ]
    assert data_window(shop([*orders_with_gaps([3]), *refunds])) == (FIRST, FIRST + dt.timedelta(days=3))


def test_a_window_needs_a_past(shop: BuildShop) -> None:
    with pytest.raises(TableError, match="holds no order of the past"):
        data_window(shop([]))
    with pytest.raises(TooLittleError, match="no other table has a window"):
        data_window(shop(people=[], roles={"churned": "left"}))
