"""A file of customers: what is written, and what is said of it."""

from __future__ import annotations

import datetime as dt
from argparse import Namespace
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from cli import features as command
from cli.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path

LINES = "who,at,paid\nann,2024-01-01,5\nbob,2024-01-02,6\ncid,2024-01-03,7\n"
PROJECT = """
[project]
name = "shop"
[tables.transactions]
source = "lines.csv"
customer = "who"
time = "at"
amount = "paid"
"""
ASKED = """
[tables.customers]
source = "people.csv"
customer = "who"
consent = "agreed"
"""


def build(folder: Path, people: str = "", as_of: str = "2024-02-01") -> Path:
    (folder / "lines.csv").write_text(LINES)
    (folder / "people.csv").write_text(people)
    project = folder / "regulars.toml"
    project.write_text(PROJECT + (ASKED if people else ""))
    out = folder / "deep" / "customers.parquet"
    assert command.build(Namespace(project=project, as_of=dt.date.fromisoformat(as_of), out=out)) == 0
    return out


def test_every_customer_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pq.read_table(build(tmp_path))
    assert table["customer_id"].to_pylist() == ["ann", "bob", "cid"]
    told = capsys.readouterr().out
    assert f"3 customers x {table.num_columns - 1} features" in told
    assert "consent" not in told
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["customers.parquet"]


def test_who_gave_no_consent_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pq.read_table(build(tmp_path, "who,agreed\nann,true\nbob,false\n"))
    assert table["consent"].to_pylist() == [True, False, False]
    told = capsys.readouterr().out
    assert f"3 customers x {table.num_columns - 2} features" in told
    assert "2 of them gave no consent: they are named, and none of their features is told" in told


def test_where_nobody_consents_something_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="none of 3 customers gave consent: see that ids are written alike"):
        build(tmp_path, "who,agreed\nAnn,true\n")


def test_a_date_before_the_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no customer had an order before 2023-02-01: give a date within"):
        build(tmp_path, as_of="2023-02-01")
