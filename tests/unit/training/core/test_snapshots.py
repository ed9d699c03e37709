"""What a training may read, and what it takes to part customers where no earlier snapshot trains."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING

import pytest

from features.labels import churned
from features.project import load_project
from features.tables import open_tables
from training.core.eligibility import MINIMUM_TEST, MINIMUM_TRAINING, require_both_outcomes
from training.core.errors import NotEligibleError, TrainingError
from training.core.snapshots import MINIMUM_PARTED, History, Question, undated_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from features.project import Project
    from training.core.dataset import Dataset

ORDERS = """who,at,paid
ann,2024-01-01 09:00:00,5
bob,2024-06-30 18:00:00,6
ann,2024-07-20 12:00:00,-5
eve,2999-01-01 00:00:00,7
"""


def project(folder: Path, table: str) -> Project:
    file = folder / "regulars.toml"
    file.write_text(f'[project]\nname = "shop"\n{table}')
    return load_project(file)


def shop(folder: Path) -> Project:
    (folder / "orders.csv").write_text(ORDERS)
    columns = 'customer = "who"\ntime = "at"\namount = "paid"\n'
    return project(folder, f'[tables.transactions]\nsource = "orders.csv"\n{columns}')


def test_by_default_a_training_stands_at_the_last_midnight_with_orders(tmp_path: Path) -> None:
    history = History.of(open_tables(shop(tmp_path)), None)
    assert history == History(dt.datetime.fromisoformat("2024-01-01T09:00"), dt.date(2024, 6, 30))
    assert history.days == 181


def test_no_later_day_has_closed_than_the_one_after_the_last_order(tmp_path: Path) -> None:
    tables = open_tables(shop(tmp_path))
    assert History.of(tables, dt.date(2024, 7, 1)).stand == dt.date(2024, 7, 1)
    with pytest.raises(TrainingError, match="the data ends on 2024-06-30, so labels up to 2024-07-02"):
        History.of(tables, dt.date(2024, 7, 2))


def parted(folder: Path, leavers: int) -> Dataset:
    """A thousand customers, so many of whom left, without a time axis."""
    rows = [f"c{number},{number},{number < leavers}" for number in range(1000)]
    (folder / "people.csv").write_text("\n".join(["who,seats,left", *rows]))
    roles = 'customer = "who"\nattributes = ["seats"]\nchurned = "left"\n'
    owner = project(folder, f'[tables.customers]\nsource = "people.csv"\n{roles}')
    tables = open_tables(owner)
    question = Question(0, "", ("churned",), partial(churned, horizon_days=0, active_days=0))
    return undated_dataset(owner, tables, dt.date(2024, 7, 1), question)


def test_both_parts_hold_enough_of_what_the_whole_held_just_enough(tmp_path: Path) -> None:
    dataset = parted(tmp_path, MINIMUM_PARTED)
    require_both_outcomes("training part", dataset.train, "churned", MINIMUM_TRAINING)
    require_both_outcomes("test part", dataset.test, "churned", MINIMUM_TEST)


def test_one_less_is_refused_before_it_is_parted(tmp_path: Path) -> None:
    with pytest.raises(NotEligibleError, match=r"holds 133 customers with the outcome 'churned' .* needs 134 of each"):
        parted(tmp_path, MINIMUM_PARTED - 1)
