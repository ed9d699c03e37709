"""From a project's tables to a dataset: the dates, the queries, the two parts."""

from __future__ import annotations

import datetime as dt
import difflib
from typing import TYPE_CHECKING

import numpy as np

from features.behaviour import feature_specs
from features.snapshot import data_window, to_arrow
from model_registry.bundle import TrainingWindow
from training.core.dataset import Rows, make_dataset, rows_from_arrow
from training.core.eligibility import MINIMUM_TRAINING, require_both_outcomes
from training.core.errors import TrainingError
from training.core.split import last_whole_day, plan_windows, split_customers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis

    from features.project import Project
    from features.specs import FeatureSpec
    from features.tables import CustomerTables
    from training.core.dataset import Dataset


def chosen_specs(project: Project, tables: CustomerTables) -> tuple[FeatureSpec, ...]:
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
    kept = tuple(spec for spec in specs if spec.name not in project.training.drop_features)
    if not any(spec.kind == "numeric" for spec in kept):
        raise TrainingError(
            f"{project.file}: no numeric feature is left to learn from; map more columns or shorten "
            "training.drop_features"
        )
    return kept


def dated_dataset(
    project: Project,
    tables: CustomerTables,
    as_of: dt.date | None,
    horizon_days: int,
    labelled: Callable[[dt.date], ibis.Table],
    labels: Sequence[str],
) -> Dataset:
    """Training snapshots and a test snapshot, laid out backwards from `as_of` (by default the data's last midnight).

    Args:
        project: the business.
        tables: its tables.
        as_of: nothing from this day on is read.
        horizon_days: days that a label needs to close.
        labelled: the snapshot of a date with its labels: `customer_id`, features, labels.
        labels: the names of the labels.

    Raises:
        TrainingError: the history is too short.
    """
    first, last = data_window(tables)
    stand = as_of or last_whole_day(last)
    if stand > last_whole_day(last) + dt.timedelta(days=1):
        raise TrainingError(
            f"the data ends on {last.date()}, so labels up to {stand} have not closed; give an earlier --as-of"
        )
    windows = plan_windows(
        stand,
        first,
        horizon_days=horizon_days,
        active_days=project.churn.active_days,
        snapshots=project.training.snapshots,
        spacing_days=project.training.spacing_days,
    )
    specs = chosen_specs(project, tables)
    read = {date: to_arrow(labelled(date)) for date in (*windows.train, windows.test)}
    rows = {date: rows_from_arrow(table, specs, labels, np.datetime64(date)) for date, table in read.items()}
    return make_dataset(
        specs,
        Rows.concatenate([rows[date] for date in windows.train]),
        rows[windows.test],
        read[windows.test],
        horizon_days,
        TrainingWindow(*(date.isoformat() for date in (windows.train[0], windows.train[-1], windows.test))),
    )


def undated_dataset(project: Project, tables: CustomerTables, labelled: ibis.Table, label: str) -> Dataset:
    """Where labels carry no date: customers split at random, stratified by `label`.

    Raises:
        TrainingError: an outcome is too rare to be split.
    """
    specs = chosen_specs(project, tables)
    table = to_arrow(labelled)
    rows = rows_from_arrow(table, specs, [label], None)
    require_both_outcomes("table of customers", rows, label, MINIMUM_TRAINING)
    train, test = split_customers(rows, label)
    return make_dataset(specs, rows.at(train), rows.at(test), table.take(test), 0, TrainingWindow())
