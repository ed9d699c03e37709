"""Of a large base the same customers are drawn every time, whole, whatever their ids and their order."""

from __future__ import annotations

import datetime as dt
import importlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.labels import churned
from features.project import load_project
from features.tables import open_tables
from tests.support.market import AS_OF, open_market
from training.core.sample import Sample, at_most, draw
from training.core.snapshots import History, Question, dated_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from training.core.dataset import Dataset, Rows

CUSTOMERS, BOUND = 90, 30
STAND = dt.date(2024, 7, 1)

PROJECT = """
[project]
name = "Corner shop"
[tables.transactions]
source = "orders.csv"
customer = "who"
time = "at"
amount = "paid"
[tables.customers]
source = "people.csv"
customer = "who"
consent = "agreed"
[training]
snapshots = 3
"""


def shop(folder: Path, most: int | None = None) -> Path:
    """Customers who order every third to twelfth day, each at another one; every ninth gave no consent."""
    first = dt.datetime.fromisoformat("2024-01-01T10:00")
    orders = [
        f"c{number},{first + dt.timedelta(days=number % 7 + pace * step)},{5 + number}"
        for number in range(CUSTOMERS)
        for pace in (3 + number % 10,)
        for step in range(180 // pace)
    ]
    people = [f"c{number},{number % 9 > 0}" for number in range(CUSTOMERS)]
    (folder / "orders.csv").write_text("\n".join(["who,at,paid", *orders]) + "\n")
    (folder / "people.csv").write_text("\n".join(["who,agreed", *people]) + "\n")
    file = folder / "regulars.toml"
    file.write_text(PROJECT + ("" if most is None else f"most_customers = {most}\n"))
    return file


def learnt(folder: Path, most: int | None = None) -> Dataset:
    project = load_project(shop(folder, most))
    tables = open_tables(project)
    question = Question(30, "", ("churned",), partial(churned, horizon_days=30, active_days=90))
    return dated_dataset(project, tables, History.of(tables, STAND), question)


def drawn(ids: list[str], most: int) -> set[str]:
    return set(pa.array(ids).take(draw(pa.chunked_array([ids]), most)).to_pylist())


def told(rows: Rows) -> dict[tuple[str, str], float]:
    """Who stands at which date, with the label."""
    return dict(zip(zip(rows.customer_ids, rows.dates.astype(str), strict=True), rows.labels["churned"], strict=True))


class TestDraw:
    @given(st.sets(st.text(min_size=1), min_size=2), st.randoms(use_true_random=False), st.data())
    def test_the_order_of_the_rows_has_no_say_and_a_larger_sample_holds_the_smaller(
        self, ids: set[str], random: object, data: st.DataObject
    ) -> None:
        most = data.draw(st.integers(1, len(ids) - 1))
        one, other = sorted(ids), data.draw(st.permutations(sorted(ids)))
        assert len(drawn(one, most)) == most
        assert drawn(one, most) == drawn(other, most) < drawn(one, most + 1)

    def test_whoever_was_drawn_stays_until_displaced_by_newcomers(self) -> None:
        before = [f"c{number}" for number in range(1000)]
        newcomers = [f"n{number}" for number in range(100)]
        kept = drawn(before, 300) & drawn([*before, *newcomers], 300)
        assert drawn([*before, *newcomers], 300) <= drawn(before, 300) | set(newcomers)
        assert len(kept) > 250

    def test_these_are_drawn_today_and_ever_after(self) -> None:
        assert drawn(["a", "b", "c", "d", "e", "f", "g", "h"], 3) == {"c", "e", "f"}

    def test_a_number_is_drawn_like_its_text(self) -> None:
        numbers = pa.chunked_array([range(100)])
        assert draw(numbers, 10).equals(draw(numbers.cast(pa.string()), 10))

    def test_early_ids_are_no_likelier_than_late_ones(self) -> None:
        ids, most = 20_000, 5_000
        places = draw(pa.chunked_array([range(ids)]), most).to_numpy()
        tenths = np.bincount(places * 10 // ids, minlength=10)
        share = most / ids
        assert np.abs(tenths - most / 10).max() < 4 * np.sqrt(ids / 10 * share * (1 - share))


class TestDataset:
    def test_a_sample_holds_what_the_whole_holds_of_its_customers(self, tmp_path: Path) -> None:
        whole, part = learnt(tmp_path), learnt(tmp_path, BOUND)
        consenting = CUSTOMERS - CUSTOMERS // 9
        assert (whole.sample, part.sample) == (None, Sample(BOUND, consenting))
        chosen = {*part.train.customer_ids, *part.test.customer_ids}
        assert len(chosen) == BOUND
        for mine, all_of_them in ((part.train, whole.train), (part.test, whole.test)):
            assert told(mine) == {key: label for key, label in told(all_of_them).items() if key[0] in chosen}
        theirs = np.isin(whole.test.customer_ids, list(chosen))
        np.testing.assert_array_equal(part.test.columns.numeric, whole.test.columns.numeric[theirs])

    def test_it_is_the_same_every_time(self, tmp_path: Path) -> None:
        assert learnt(tmp_path, BOUND).digest == learnt(tmp_path, BOUND).digest

    def test_as_many_as_are_asked_about_are_all(self, tmp_path: Path) -> None:
        consenting = CUSTOMERS - CUSTOMERS // 9
        for most in (consenting, CUSTOMERS):
            bounded = learnt(tmp_path, most)
            assert bounded.sample is None
            assert bounded.digest == learnt(tmp_path).digest

    def test_a_base_below_the_bound_is_read_from_its_own_tables(self, tmp_path: Path) -> None:
        tables = open_tables(load_project(shop(tmp_path)))
        answers = [churned(tables, STAND, horizon_days=30, active_days=90)]
        assert at_most(CUSTOMERS, tables, answers, STAND) == (tables, None)


@pytest.mark.parametrize("model", ["churn", "propensity", "clustering"])
def test_models_learn_from_no_more_customers_than_the_project_says(model: str, tmp_path: Path) -> None:
    file = open_market(tmp_path).project
    file.write_text(file.read_text() + "most_customers = 550\n")
    dataset = importlib.import_module(f"training.{model}.pipeline").PIPELINE.dataset(load_project(file), AS_OF)
    assert dataset.sample is not None
    assert len({*dataset.train.customer_ids, *dataset.test.customer_ids}) == dataset.sample.customers == 550
    assert set(dataset.test.customer_ids) & set(dataset.train.customer_ids)
