"""The names of what is foreseen, and what happens to a name that nobody ordered."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.project import Project, load_project
from model_registry.columns import Columns
from model_registry.schema import Feature
from training.core.errors import TrainingError
from training.propensity.targets import PURCHASE, RESPONSE, of_category, parts_of, require_known_categories

if TYPE_CHECKING:
    from pathlib import Path

STAND = dt.date(2024, 1, 2)
MIDNIGHT = dt.datetime.fromisoformat("2024-01-01")


def project(folder: Path, *categories: str) -> Project:
    file = folder / "regulars.toml"
    file.write_text(
        '[project]\nname = "Shop"\n[tables.transactions]\nsource = "t.csv"\ncustomer = "c"\ntime = "t"\namount = "a"\n'
        'category = "d"\n[tables.responses]\nsource = "r.csv"\ncustomer = "c"\ntime = "t"\n'
        f"[propensity]\ncategories = {list(categories)}\n"
    )
    return load_project(file)


def lines(*categories: str | None, late: str = "late", refunded: str = "refunded") -> ibis.Table:
    """A line of each category, on the day before `STAND`; those of `late` a day later."""
    return ibis.memtable(
        pa.table(
            {
                "time": [MIDNIGHT + dt.timedelta(days=category == late) for category in categories],
                "refund": [category == refunded for category in categories],
                "category": pa.array(categories, pa.string()),
            }
        )
    )


@given(st.text(min_size=1), st.text(min_size=1))
def test_every_category_has_names_of_its_own(one: str, other: str) -> None:
    targets = of_category(one), of_category(other)
    for name in ("label", "output", "recency"):
        first, second = (getattr(target, name) for target in targets)
        assert (first == second) == (one == other)
        assert first not in {getattr(PURCHASE, name), getattr(RESPONSE, name)}


def test_categories_stand_in_the_projects_order_and_responses_last(tmp_path: Path) -> None:
    assert [target.subject for target in parts_of(project(tmp_path, "wine", "ale"))] == ["wine", "ale", "responses"]


def test_the_rule_of_a_category_is_its_own_recency() -> None:
    columns = Columns(np.array([[1, 9], [2, 3]], np.float32), np.empty((2, 0), object))
    features = (Feature("recency_days", "numeric"), Feature("recency_days[ale]", "numeric"))
    for target, order in ((PURCHASE, [0, 1]), (of_category("ale"), [1, 0])):
        scores = target.rule(columns, features)
        assert scores is not None
        assert np.argsort(-scores).tolist() == order
    assert RESPONSE.rule(columns, features) is None


def test_categories_that_were_ordered_are_known(tmp_path: Path) -> None:
    require_known_categories(project(tmp_path, "ale", "wine"), lines("ale", None, "wine", "wine"), STAND)
    require_known_categories(project(tmp_path), lines(None), STAND)


@pytest.mark.parametrize(
    ("named", "ordered", "hint"),
    [
        ("ale", ["Ales", "wine"], "the nearest are: Ales"),
        ("ale", ["ALE", "wine"], "the nearest are: ALE"),
        ("ale", ["wine", "tea"], "there are: tea, wine"),
        ("refunded", ["wine", "refunded"], "there are: wine"),
        ("late", ["wine", "late"], "there are: wine"),
        ("ale", [f"w{number:02}" for number in range(25)], "there are: .*, w19 and 5 more"),
    ],
)
def test_others_are_refused_with_a_hint(tmp_path: Path, named: str, ordered: list[str], hint: str) -> None:
    told = rf"propensity\.categories names '{named}', which no order is of; {hint}$"
    with pytest.raises(TrainingError, match=told):
        require_known_categories(project(tmp_path, named), lines(*ordered), STAND)
