"""Which dates train, which date tests, and how a candidate is tried without seeing the future."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from features.horizon import HISTORY_HORIZONS
from training.core.errors import NotEligibleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.core.dataset import Rows

CHAINED_FOLDS = 3
CUSTOMER_FOLDS = 5
TEST_SHARE = 0.25
SEED = 7
Fold = tuple["NDArray[np.intp]", "NDArray[np.intp]"]
"""Positions that fit and positions that are predicted."""


@dataclass(frozen=True)
class Windows:
    """Snapshot dates. `train` ascends; its last label closes at the latest when `test` opens.

    Where customers are split instead, `train` is `test` alone.
    """

    train: tuple[dt.date, ...]
    test: dt.date


def last_whole_day(last: dt.datetime) -> dt.date:
    """The midnight at or before the last moment of the data: nothing of an unfinished day is read."""
    return last.date()


def plan_windows(
    as_of: dt.date,
    first: dt.datetime,
    *,
    horizon_days: int,
    key: str,
    active_days: int,
    snapshots: int,
    spacing_days: int,
) -> Windows:
    """Stands at `as_of` and lays the snapshots out backwards.

    The test snapshot's labels close at `as_of`. Training snapshots end one horizon before it, `spacing_days` apart;
    those with less than `active_days` of data (which begins at `first`) behind them are left out. `key` sets the
    horizon in the project.

    Raises:
        NotEligibleError: the history is too short.
    """
    history = (as_of - first.date()).days
    if history < HISTORY_HORIZONS * horizon_days:
        raise NotEligibleError(
            f"the data covers {history} days up to {as_of}, and a horizon of {horizon_days} days needs "
            f"{HISTORY_HORIZONS * horizon_days}; shorten {key}, or train again when there is more"
        )
    horizon = dt.timedelta(days=horizon_days)
    test = as_of - horizon
    earliest = first.date() + dt.timedelta(days=active_days)
    last = test - horizon
    room = (last - earliest).days // spacing_days + 1
    train = tuple(last - dt.timedelta(days=spacing_days * back) for back in reversed(range(min(snapshots, room))))
    if not train:
        raise NotEligibleError(
            f"no training snapshot fits: the data begins on {first.date()}, customers are looked back on for "
            f"{active_days} days, and two horizons of {horizon_days} days must pass before {as_of}; "
            f"shorten churn.active_days or {key}, or train again when there is more"
        )
    return Windows(train, test)


def folds(rows: Rows, label: str, horizon_days: int) -> list[Fold]:
    """Forward chaining over the last snapshots: each is predicted by all whose labels had closed when it opened.

    Nothing is learnt from snapshots of a single outcome, so they predict none. Where no snapshot follows another that
    can predict it, customers are cross-validated instead: stratified by label, and never on both sides of a fold.
    """
    chained = []
    horizon = np.timedelta64(horizon_days, "D")
    for date in np.unique(rows.dates[~np.isnat(rows.dates)])[-CHAINED_FOLDS:]:
        closed = np.flatnonzero(rows.dates + horizon <= date)
        if len(np.unique(rows.labels[label][closed] > 0)) > 1:
            chained.append((closed, np.flatnonzero(rows.dates == date)))
    return chained or customer_folds(rows, label)


def split_customers(rows: Rows, label: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Training and test positions where time cannot part them: stratified by label, the same on every run."""
    outcome = rows.labels[label] > 0
    # A customer cannot be on both sides, so what occurs once, or never, cannot be stratified.
    both = 1 < np.count_nonzero(outcome) < len(outcome) - 1
    train, test = train_test_split(
        np.arange(len(rows)), test_size=TEST_SHARE, stratify=outcome if both else None, random_state=SEED
    )
    return np.sort(train), np.sort(test)


def customer_folds(rows: Rows, label: str) -> list[Fold]:
    """Cross-validation over customers: stratified by label, and no customer on both sides of a fold."""
    splitter = StratifiedGroupKFold(CUSTOMER_FOLDS, shuffle=True, random_state=SEED)
    return list(splitter.split(rows.columns.numeric, rows.labels[label] > 0, rows.customer_ids))
