"""From a project's tables to a dataset: the dates, the queries, the two parts."""

from __future__ import annotations

import datetime as dt
import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from features.behaviour import feature_specs
from features.horizon import HISTORY_HORIZONS
from features.snapshot import data_window, labelled_snapshot, to_arrow
from model_registry.bundle import TrainingWindow
from training.core.dataset import Rows, make_dataset, rows_from_arrow
from training.core.eligibility import MINIMUM_TEST, MINIMUM_TRAINING, require_both_outcomes
from training.core.errors import TrainingError
from training.core.sample import at_most
from training.core.split import TEST_SHARE, Windows, last_whole_day, plan_windows, split_customers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis
    from numpy.typing import NDArray

    from features.project import Project
    from features.specs import FeatureSpec
    from features.tables import CustomerTables
    from training.core.dataset import Dataset

MINIMUM_PARTED = math.ceil(max(MINIMUM_TRAINING / (1 - TEST_SHARE), MINIMUM_TEST / TEST_SHARE))
"""Customers of each outcome, so that both parts hold enough once they are parted."""


@dataclass(frozen=True)
class History:
    """What a training may read: from `first`, the moment of the first transaction, to the midnight `stand`."""

    first: dt.datetime
    stand: dt.date

    @classmethod
    def of(cls, tables: CustomerTables, as_of: dt.date | None) -> History:
        """The history up to `as_of`, by default up to the data's last midnight.

        Raises:
            TrainingError: the data ends before `as_of`.
        """
        first, last = data_window(tables)
        stand = as_of or last_whole_day(last)
        if stand > last_whole_day(last) + dt.timedelta(days=1):
            raise TrainingError(
                f"the data ends on {last.date()}, so labels up to {stand} have not closed; give an earlier --as-of"
            )
        return cls(first, stand)

    @property
    def days(self) -> int:
        return (self.stand - self.first.date()).days


@dataclass(frozen=True)
class Question:
    """What a model asks about the customers of a moment.

    `answers` gives, of these tables, `customer` and the `labels` for a date; they close `horizon_days` later, which
    `key` sets in the project. `by_category` takes the features of single categories too. `across_customers` allows to
    split customers where the history is too short for an earlier snapshot to train. `amounts` are labels of which none
    need be zero. `features` are the only ones to take, where named.
    """

    horizon_days: int
    key: str
    labels: tuple[str, ...]
    answers: Callable[[CustomerTables, dt.date], ibis.Table]
    by_category: bool = False
    across_customers: bool = False
    amounts: bool = False
    features: tuple[str, ...] = ()


def chosen_specs(
    project: Project, tables: CustomerTables, *, by_category: bool = False, only: Sequence[str] = ()
) -> tuple[FeatureSpec, ...]:
    """The features that the tables tell, without those that the project drops.

    Raises:
        TrainingError: the project drops or acknowledges a feature that is none, or leaves none.
    """
    specs = feature_specs(tables)
    names = [spec.name for spec in specs]
    for key in ("drop_features", "acknowledge_leaks"):
        for name in getattr(project.training, key):
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"the nearest is {near[0]}" if near else f"there are: {', '.join(names)}"
                raise TrainingError(f"{project.file}: training.{key} names {name!r}, which is no feature; {hint}")
    kept = tuple(
        spec
        for spec in specs
        if spec.name not in project.training.drop_features
        and (by_category or not spec.category)
        and (not only or spec.name in only)
    )
    if not any(spec.kind == "numeric" for spec in kept):
        raise TrainingError(
            f"{project.file}: no numeric feature is left to learn from; map more columns or shorten "
            "training.drop_features"
        )
    return kept


def dated_dataset(project: Project, tables: CustomerTables, history: History, question: Question) -> Dataset:
    """Training snapshots and a test snapshot, laid out backwards from where the history stands.

    Raises:
        TrainingError: the history is too short.
    """
    windows = _plan(project, history, question)
    specs = chosen_specs(project, tables, by_category=question.by_category, only=question.features)
    dates = sorted({*windows.train, windows.test})
    asked = [question.answers(tables, date) for date in dates]
    tables, sample = at_most(project.training.most_customers, tables, asked, dates[-1])
    read = {date: to_arrow(labelled_snapshot(tables, date, question.answers(tables, date))) for date in dates}
    rows = {date: rows_from_arrow(table, specs, question.labels, np.datetime64(date)) for date, table in read.items()}
    window = TrainingWindow(*(date.isoformat() for date in (windows.train[0], windows.train[-1], windows.test)))
    test, test_table = rows[windows.test], read[windows.test]
    if windows.train != (windows.test,):
        train = Rows.concatenate([rows[date] for date in windows.train])
        return make_dataset(specs, train, test, test_table, question.horizon_days, window, sample)
    label = question.labels[0]
    if question.amounts:
        fit, held_out = split_customers(test, label)
    else:
        fit, held_out = _parted(test, label, "history holds no earlier snapshot, so the table of customers")
    return make_dataset(
        specs, test.at(fit), test.at(held_out), test_table.take(held_out), question.horizon_days, window, sample
    )


def undated_dataset(project: Project, tables: CustomerTables, date: dt.date, question: Question) -> Dataset:
    """Where labels carry no date: customers as of `date`, split at random, stratified by the label.

    Raises:
        TrainingError: an outcome is too rare to be split.
    """
    specs = chosen_specs(project, tables)
    tables, sample = at_most(project.training.most_customers, tables, [question.answers(tables, date)], date)
    table = to_arrow(labelled_snapshot(tables, date, question.answers(tables, date)))
    (label,) = question.labels
    rows = rows_from_arrow(table, specs, [label], None)
    fit, held_out = _parted(rows, label, "table of customers")
    return make_dataset(specs, rows.at(fit), rows.at(held_out), table.take(held_out), 0, TrainingWindow(), sample)


def _plan(project: Project, history: History, question: Question) -> Windows:
    horizon = dt.timedelta(days=question.horizon_days)
    # One horizon less holds one to look back on and one to foresee, and no label that had closed in between.
    if question.across_customers and history.days // question.horizon_days == HISTORY_HORIZONS - 1:
        test = history.stand - horizon
        return Windows((test,), test)
    return plan_windows(
        history.stand,
        history.first,
        horizon_days=question.horizon_days,
        key=question.key,
        active_days=project.churn.active_days,
        snapshots=project.training.snapshots,
        spacing_days=project.training.spacing_days,
    )


def _parted(rows: Rows, label: str, what: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    require_both_outcomes(what, rows, label, MINIMUM_PARTED)
    return split_customers(rows, label)
