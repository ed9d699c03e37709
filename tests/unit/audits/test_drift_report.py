"""The page of a drift audit: sound as a page, and it says what to do."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from audits.drift import DriftReport, Verdict, audit_drift
from audits.drift_report import drift_page
from audits.population import grouped
from tests.support.drift import frozen_model, people, table_of
from tests.support.pages import flaws, parsed, words

if TYPE_CHECKING:
    from model_registry.columns import Columns

MODEL = frozen_model(people(2000, seed=0))
NASTY = '<script>"&'


def report(columns: Columns, as_of: str = "2017-12-31") -> DriftReport:
    kinds = pa.array([(NASTY, "m")[row % 2] if row > 9 else "few" for row in range(len(columns))])
    return audit_drift(MODEL, "3", table_of(columns), dt.date.fromisoformat(as_of), [grouped("kind", kinds)])


def read(columns: Columns, as_of: str = "2017-12-31") -> str:
    return words(parsed(drift_page(report(columns, as_of))))


def everything_wrong() -> Columns:
    columns = people(1500, seed=1)
    columns.numeric[:, 0] = np.minimum(columns.numeric[:, 0] * 3, 90.0)
    columns.numeric[::2, 1] = np.nan
    columns.categorical[::3] = NASTY
    columns.numeric[:2, 0] = np.nan
    return columns


@pytest.mark.parametrize("columns", [people(1500, seed=1), people(100, seed=1), everything_wrong()])
def test_it_is_sound_and_loads_nothing(columns: Columns) -> None:
    page = drift_page(report(columns))
    assert flaws(page) == []
    assert "c00001" not in page, "no customer is named"


def test_where_nothing_moved_it_says_so() -> None:
    text = read(people(1500, seed=1))
    assert Verdict.STABLE in text
    assert "Nothing moved" in text
    assert "What moved" not in text


def test_it_says_what_moved_and_what_to_do() -> None:
    text = read(everything_wrong())
    assert Verdict.DRIFTED in text
    assert "A server refuses 2 of these customers" in text
    assert "frequency has moved" in text
    assert "See whether its source is still delivered" in text
    assert "See whether its unit or its spelling has changed" in text
    assert "recency_days has moved" in text
    assert "fewer than 30 scored" in text


def test_scores_that_hold_still_take_the_hurry_out() -> None:
    columns = people(1500, seed=1)
    columns.categorical[columns.categorical == ""] = "kiosk"
    assert "The scores themselves hold still" in read(columns)


def test_too_few_customers_are_told_how_many_would_do() -> None:
    # 1 / (1/2000 + 1/353) = 300
    assert "353 scored customers would be enough" in read(people(100, seed=1))


def test_a_stale_model_is_told_to_train_again() -> None:
    text = read(people(1500, seed=1), as_of="2018-03-01")
    assert "The model knows answers up to 2017-12-01, 90 days before" in text
    assert "Train again" in text
