"""Nobody sees the future."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model_registry.columns import Columns
from training.core.dataset import Rows
from training.core.errors import TrainingError
from training.core.split import customer_folds, folds, last_whole_day, plan_windows, split_customers

KEY = "churn.horizon_days"
FIRST = dt.datetime.fromisoformat("2017-01-01T11:53")


def rows(dates: list[str], customers: int, positives: int) -> Rows:
    """The same customers at each date; the first `positives` of them have the outcome."""
    count = len(dates) * customers
    return Rows(
        np.array([f"c{n}" for _ in dates for n in range(customers)], object),
        np.repeat(np.array(dates, "datetime64[D]"), customers),
        Columns(np.zeros((count, 1), np.float32), np.empty((count, 0), object)),
        {"churned": np.tile(np.arange(customers) < positives, len(dates)).astype(np.float32)},
    )


def test_the_example_is_laid_out_as_documented() -> None:
    windows = plan_windows(
        dt.date(2017, 12, 31), FIRST, horizon_days=30, key=KEY, active_days=90, snapshots=7, spacing_days=30
    )
    assert windows.test == dt.date(2017, 12, 1)
    assert windows.train[0] == dt.date(2017, 5, 5)
    assert windows.train[-1] == dt.date(2017, 11, 1)
    assert len(windows.train) == 7


def test_snapshots_without_a_window_behind_them_are_left_out() -> None:
    windows = plan_windows(
        dt.date(2017, 12, 31), FIRST, horizon_days=30, key=KEY, active_days=90, snapshots=50, spacing_days=30
    )
    # The first of April is 90 days after the first of January.
    assert windows.train[0] == dt.date(2017, 4, 5)


@given(
    st.dates(dt.date(2017, 1, 2), dt.date(2019, 1, 1)),
    st.integers(1, 120),
    st.integers(1, 200),
    st.integers(1, 12),
    st.integers(1, 60),
)
def test_every_training_label_closes_before_the_test_opens(
    as_of: dt.date, horizon: int, active: int, snapshots: int, spacing: int
) -> None:
    try:
        windows = plan_windows(
            as_of, FIRST, horizon_days=horizon, key=KEY, active_days=active, snapshots=snapshots, spacing_days=spacing
        )
    except TrainingError:
        return
    days = dt.timedelta(days=horizon)
    assert windows.test + days <= as_of
    assert max(windows.train) + days <= windows.test
    assert min(windows.train) - dt.timedelta(days=active) >= FIRST.date()
    assert list(windows.train) == sorted(set(windows.train))
    assert 1 <= len(windows.train) <= snapshots


@pytest.mark.parametrize(("day", "message"), [("2017-03-30", "covers 88 days"), ("2017-04-05", "no training snapshot")])
def test_too_short_a_history_is_refused_with_figures(day: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        plan_windows(
            dt.date.fromisoformat(day), FIRST, horizon_days=30, key=KEY, active_days=90, snapshots=7, spacing_days=30
        )


def test_an_unfinished_day_is_not_read() -> None:
    assert last_whole_day(dt.datetime.fromisoformat("2017-12-31T23:59")) == dt.date(2017, 12, 31)
    assert last_whole_day(dt.datetime.fromisoformat("2018-01-01T00:00")) == dt.date(2018, 1, 1)


@given(
    st.lists(st.dates(dt.date(2017, 1, 1), dt.date(2017, 12, 1)), min_size=2, max_size=8, unique=True),
    st.integers(1, 60),
)
def test_folds_never_see_the_future(dates: list[dt.date], horizon: int) -> None:
    spread = max(dates) - min(dates)
    assume(spread.days >= horizon)
    data = rows([date.isoformat() for date in sorted(dates)], customers=6, positives=3)
    chained = folds(data, "churned", horizon)
    assert 1 <= len(chained) <= 3
    for fit, held_out in chained:
        closes = data.dates[fit] + np.timedelta64(horizon, "D")
        assert closes.max() <= data.dates[held_out].min()
        assert len(np.unique(data.dates[held_out])) == 1


def test_a_past_of_one_outcome_predicts_nothing() -> None:
    data = rows(["2017-01-01", "2017-02-01", "2017-03-10"], customers=4, positives=2)
    data.labels["churned"][:4] = 0
    ((fit, held_out),) = folds(data, "churned", 30)
    assert fit.tolist() == list(range(8))
    assert held_out.tolist() == list(range(8, 12))


def test_more_snapshots_than_the_calendar_has_are_as_many_as_fit() -> None:
    windows = plan_windows(
        dt.date(2017, 12, 31), FIRST, horizon_days=30, key=KEY, active_days=90, snapshots=10**6, spacing_days=30
    )
    assert len(windows.train) == 8
    assert windows.train[0] == dt.date(2017, 4, 5)


def test_folds_use_every_snapshot_that_had_closed() -> None:
    data = rows(["2017-01-01", "2017-02-01", "2017-03-10"], customers=4, positives=2)
    last_fit, last_held_out = folds(data, "churned", 30)[-1]
    assert last_fit.tolist() == list(range(8))
    assert last_held_out.tolist() == list(range(8, 12))


@pytest.mark.parametrize("dates", [["NaT"], ["2017-01-01"], ["2017-01-01", "2017-01-08"]])
def test_without_a_past_customers_are_never_on_both_sides(dates: list[str]) -> None:
    data = rows(dates, customers=60, positives=20)
    parts = folds(data, "churned", 30)
    assert len(parts) == 5
    for fit, held_out in parts:
        assert not set(data.customer_ids[fit]) & set(data.customer_ids[held_out])
        assert data.labels["churned"][held_out].mean() == pytest.approx(1 / 3, abs=0.01)
    assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(len(data)))


def test_customers_split_into_parts_of_one_base_rate_the_same_every_time() -> None:
    data = rows(["NaT"], customers=400, positives=100)
    train, test = split_customers(data, "churned")
    assert sorted([*train, *test]) == list(range(400))
    assert len(test) == 100
    assert data.labels["churned"][test].mean() == data.labels["churned"][train].mean() == 0.25
    assert np.array_equal(split_customers(data, "churned")[1], test)


@pytest.mark.parametrize("positives", [0, 1, 99, 100])
def test_customers_can_be_split_where_an_outcome_is_missing_or_single(positives: int) -> None:
    train, test = split_customers(rows(["2017-03-01"], 100, positives), "churned")
    assert sorted([*train, *test]) == list(range(100))
    assert len(test) == 25


@pytest.mark.parametrize("positives", [30, 100])
def test_folds_over_customers_hold_every_row_out_once_and_nobody_on_both_sides(positives: int) -> None:
    data = rows(["2017-03-01", "2017-04-01"], 100, positives)
    found = customer_folds(data, "churned")
    assert sorted(np.concatenate([held_out for _, held_out in found])) == list(range(200))
    for fit, held_out in found:
        assert not set(data.customer_ids[fit]) & set(data.customer_ids[held_out])
