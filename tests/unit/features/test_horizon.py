from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from features.errors import TableError
from features.horizon import horizon_days
from features.sections import Churn
from features.snapshot import data_window

if TYPE_CHECKING:
    from tests.unit.features.conftest import BuildShop

FIRST = dt.datetime.fromisoformat("2024-01-01")


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
    assert horizon_days(Churn(), shop(orders_with_gaps(gaps))) == expected


def test_the_projects_own_horizon_wins(shop: BuildShop) -> None:
    assert horizon_days(Churn(horizon_days=45), shop(orders_with_gaps([1]))) == 45


def test_gaps_that_close_later_do_not_count(shop: BuildShop) -> None:
    tables = shop(orders_with_gaps([5, 5, 5, 200]))
    assert horizon_days(Churn(), tables, as_of=FIRST.date() + dt.timedelta(days=16)) == 7
    assert horizon_days(Churn(), tables) == 365


def test_no_gap_is_no_horizon(shop: BuildShop) -> None:
    with pytest.raises(TableError, match=r"no customer with two orders\. Set churn\.horizon_days"):
        horizon_days(Churn(), shop(orders_with_gaps([])))
    with pytest.raises(TableError, match="not mapped"):
        horizon_days(Churn(), shop(people=[], roles={"churned": "left"}))


def test_rows_dated_in_the_future_stretch_no_window(shop: BuildShop) -> None:
    far = {"who": "ann", "at": dt.datetime.fromisoformat("2999-01-01"), "paid": 1.0, "basket": "typo"}
    assert data_window(shop([*orders_with_gaps([3]), far])) == (FIRST, FIRST + dt.timedelta(days=3))


def test_a_window_needs_a_past(shop: BuildShop) -> None:
    with pytest.raises(TableError, match="holds no row of the past"):
        data_window(shop([]))
    with pytest.raises(TableError, match="no other table has a window"):
        data_window(shop(people=[], roles={"churned": "left"}))
