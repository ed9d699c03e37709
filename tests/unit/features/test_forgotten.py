"""Whoever is forgotten is in no snapshot and no training, as if the tables had never held them."""

from __future__ import annotations

import datetime as dt
import stat
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from features.forgotten import ids_of, read_forgotten, remember_to_forget
from features.labels import churned, outcomes
from features.project import load_project
from features.snapshot import labelled_snapshot, snapshot, to_arrow
from features.tables import CustomerTables, open_tables, without

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

AS_OF = dt.date(2024, 3, 1)
IDS = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1)

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
sensitive = ["gender"]
attributes = ["plan"]
[churn]
horizon_days = 10
"""


def open_shop(folder: Path, ids: tuple[Any, ...] = ("a", "b", "c")) -> Path:
    """Three customers, who all ordered before and after the date; the project says nothing of forgetting."""
    lines = [f"{who},{at},5.0" for who in ids for at in ("2024-02-01", "2024-02-10", "2024-03-05")]
    (folder / "orders.csv").write_text("\n".join(["who,at,paid", *lines]) + "\n")
    (folder / "people.csv").write_text("\n".join(["who,gender,plan", *(f"{who},f,gold" for who in ids)]) + "\n")
    file = folder / "regulars.toml"
    file.write_text(PROJECT)
    return file


def known(tables: CustomerTables) -> list[set[str]]:
    """Who is in a snapshot, in what models learn from, and in the customers table that audits read."""
    answers = churned(tables, AS_OF, horizon_days=10, active_days=90)
    bought = outcomes(tables, AS_OF, horizon_days=10)
    rows = (
        snapshot(tables, AS_OF),
        labelled_snapshot(tables, AS_OF, answers),
        labelled_snapshot(tables, AS_OF, bought),
    )
    assert tables.customers is not None
    people = tables.customers.select(customer_id=tables.customers.customer.cast("string"))
    return [set(to_arrow(one)["customer_id"].to_pylist()) for one in (*rows, people)]


def test_whoever_is_forgotten_is_in_nothing_that_is_read(tmp_path: Path) -> None:
    project = load_project(open_shop(tmp_path))
    assert known(open_tables(project)) == [{"a", "b", "c"}] * 4
    remember_to_forget(project.privacy.forgotten, ["b", "nobody"])
    assert known(open_tables(project)) == [{"a", "c"}] * 4


def test_ids_that_are_numbers_are_forgotten_by_the_text_that_snapshots_write(tmp_path: Path) -> None:
    project = load_project(open_shop(tmp_path, ids=(7, 8, 70)))
    remember_to_forget(project.privacy.forgotten, ["7", "08"])
    assert known(open_tables(project)) == [{"8", "70"}] * 4


def test_nobody_to_forget_changes_nothing(tmp_path: Path) -> None:
    tables = open_tables(load_project(open_shop(tmp_path)))
    assert without(tables, frozenset()) is tables


def test_the_list_lies_where_the_project_says(tmp_path: Path) -> None:
    file = open_shop(tmp_path)
    assert load_project(file).privacy.forgotten == tmp_path / ".regulars/forgotten.txt"
    file.write_text(PROJECT + '[privacy]\nforgotten = "kept/elsewhere.txt"\n')
    project = load_project(file)
    remember_to_forget(project.privacy.forgotten, ["a"])
    assert (tmp_path / "kept/elsewhere.txt").exists()
    assert known(open_tables(project)) == [{"b", "c"}] * 4


class TestList:
    @given(st.lists(st.sets(IDS), max_size=4))
    def test_it_holds_everybody_who_was_ever_put_on_it_once(
        self, tmp_path_factory: pytest.TempPathFactory, rounds: list[set[str]]
    ) -> None:
        file = tmp_path_factory.mktemp("list") / "forgotten.txt"
        seen: set[str] = set()
        for customers in rounds:
            assert remember_to_forget(file, customers) == len(customers - seen)
            seen |= customers
            assert read_forgotten(file) == seen
        if file.exists():
            assert sorted(ids_of(file.read_text(encoding="utf-8"))) == sorted(seen)

    def test_there_may_be_none(self, tmp_path: Path) -> None:
        assert read_forgotten(tmp_path / "none.txt") == frozenset()

    def test_only_its_owner_may_read_it(self, tmp_path: Path) -> None:
        file = tmp_path / "deep/forgotten.txt"
        remember_to_forget(file, ["a"])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_lines_written_by_hand_count(self, tmp_path: Path) -> None:
        file = tmp_path / "forgotten.txt"
        file.write_bytes(b"a\r\n\r\nb b\r\nlast line left open")
        remember_to_forget(file, ["c"])
        assert read_forgotten(file) == {"a", "b b", "last line left open", "c"}
