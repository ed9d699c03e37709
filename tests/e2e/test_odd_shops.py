"""Shops as they come: small, with refunds, exported twice, dated wrongly, with one sort of goods, with nothing paid.

Each gives the right figures, or a refusal that says what is wrong and by how much.
"""

from __future__ import annotations

import datetime as dt
import importlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cli.main import main
from cli.models import MODELS
from features.errors import TableError
from features.horizon import churn_horizon, propensity_horizon
from features.labels import outcomes
from features.project import load_project
from features.snapshot import data_window, labelled_snapshot, to_arrow
from features.tables import open_tables
from tests.support.shop import open_shop
from training.core.champion import Champion
from training.core.draft import Draft
from training.core.errors import NotEligibleError
from training.core.parity import certify

if TYPE_CHECKING:
    from pathlib import Path

    from features.project import Project

AS_OF = dt.date(2024, 5, 1)
FUTURE = dt.datetime.fromisoformat("2999-01-01")
GIVEN_BACK_AFTER = dt.timedelta(days=9)
NET = ("monetary", "spend_30d", "spend_90d", "spend_180d", "refund_share")
"""Features that refunds change."""


def shop(folder: Path, **oddity: Any) -> Project:
    return load_project(open_shop(folder, snapshots=3, **oddity))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The shop without any oddity."""
    return shop(tmp_path_factory.mktemp("usual"))


@pytest.fixture(scope="module")
def refunding(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Every fifth order is half given back, nine days later; the last of them after the last sale."""
    return shop(tmp_path_factory.mktemp("refunds"), change=with_refunds)


def customers(project: Project) -> pa.Table:
    """Everybody's features, and what followed."""
    tables = open_tables(project)
    return to_arrow(labelled_snapshot(tables, AS_OF, outcomes(tables, AS_OF, horizon_days=30)))


def assert_same(one: pa.Table, other: pa.Table) -> None:
    """But for the order in which floats were summed."""
    assert one.schema == other.schema
    for name in one.schema.names:
        if pa.types.is_floating(one[name].type):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, err_msg=name)
        else:
            assert one[name].equals(other[name]), name


def fate(model: str, project: Project) -> str:
    """Empty where a graph comes out that is certified; else why the business is not eligible."""
    pipeline = importlib.import_module(f"training.{model}.pipeline").PIPELINE
    try:
        dataset = pipeline.dataset(project, None)
        fitted = pipeline.fit(dataset, project, Champion(), lambda _: None)
    except NotEligibleError as refusal:
        return str(refusal)
    draft = Draft.of(model, dataset, fitted, "run")
    assert certify(draft.servable, fitted, dataset.test.columns).passed
    return ""


class TestTiny:
    def test_every_model_says_how_many_there_are_and_how_many_it_needs(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        project = str(shop(tmp_path, customers=60).file)
        assert main(["train", "all", "--project", project]) == 1
        told = " ".join(capsys.readouterr().out.split())
        for model in MODELS:
            assert re.search(rf"{model} not eligible: [^.]* holds \d+ customers[^.]* needs \d+", told), told
        assert main(["train", "churn", "--project", project]) == 1
        assert "regulars train: the training part holds" in capsys.readouterr().err


class TestRefunds:
    def test_money_is_net_and_nothing_else_changes(self, usual: Project, refunding: Project) -> None:
        before, after = customers(usual), customers(refunding)
        assert_same(after.drop_columns([*NET, "revenue"]), before.drop_columns([*NET, "revenue"]))
        spent, kept, share = (
            np.array(column) for column in (before["monetary"], after["monetary"], after["refund_share"])
        )
        np.testing.assert_allclose(kept, spent * (1 - share), rtol=1e-5)
        assert 0.05 < np.mean(share) < 0.15
        assert 0.85 < pc.sum(after["revenue"]).as_py() / pc.sum(before["revenue"]).as_py() < 0.95

    def test_refunds_after_the_last_sale_close_no_label(self, usual: Project, refunding: Project) -> None:
        assert data_window(open_tables(refunding)) == data_window(open_tables(usual))


class TestExportedTwice:
    def test_it_is_refused_with_figures_until_the_project_says_what_it_is(self, tmp_path: Path, usual: Project) -> None:
        with pytest.raises(TableError, match=r"41,764 of 83,528 lines \(50%\) repeat another"):
            open_tables(shop(tmp_path, change=twice))
        once = customers(usual)
        assert_same(customers(shop(tmp_path, change=twice, mapped='duplicates = "drop"')), once)
        double = customers(shop(tmp_path, change=twice, mapped='duplicates = "keep"'))
        assert double["frequency"].equals(once["frequency"])
        np.testing.assert_allclose(double["monetary"], 2 * np.array(once["monetary"]), rtol=1e-6)


class TestWrongDates:
    def test_a_few_days_of_the_future_change_nothing(self, tmp_path: Path, usual: Project) -> None:
        slipped = shop(tmp_path, change=with_slips)
        assert_same(customers(slipped), customers(usual))
        tables, right = open_tables(slipped), open_tables(usual)
        assert data_window(tables) == data_window(right)
        assert propensity_horizon(slipped.propensity, tables) == propensity_horizon(usual.propensity, right)
        assert churn_horizon(slipped.churn, tables) == churn_horizon(usual.churn, right)

    def test_a_table_of_the_future_is_refused_with_figures(self, tmp_path: Path) -> None:
        with pytest.raises(TableError, match="dates 41,764 of 41,764 lines after today"):
            open_tables(shop(tmp_path, change=a_thousand_years_on))


@pytest.mark.parametrize("model", MODELS)
def test_one_department_is_enough(tmp_path: Path, model: str) -> None:
    assert fate(model, shop(tmp_path, departments=("bread",))) == ""


@pytest.mark.parametrize("model", MODELS)
def test_where_nothing_is_paid_only_money_cannot_be_foreseen(tmp_path: Path, model: str) -> None:
    refusal = fate(model, shop(tmp_path, change=for_nothing))
    assert (refusal != "") == (model == "cltv"), refusal
    assert model != "cltv" or "holds 0 customers who paid something, and needs 100" in refusal


def with_refunds(orders: pa.Table) -> pa.Table:
    given_back = orders.take(np.arange(0, orders.num_rows, 5))
    when = pc.add(given_back["paid_at"], pa.scalar(GIVEN_BACK_AFTER))
    amount = pc.negate(pc.round(pc.divide(given_back["amount"], 2.0), 2))
    return pa.concat_tables([orders, _with(given_back, paid_at=when, amount=amount)])


def twice(orders: pa.Table) -> pa.Table:
    return pa.concat_tables([orders, orders])


def with_slips(orders: pa.Table) -> pa.Table:
    some = orders.slice(0, 50)
    slips = _with(some, paid_at=pa.array([FUTURE] * 50, some["paid_at"].type))
    strangers = _with(slips, who=pa.array([f"stranger {number}" for number in range(50)]))
    return pa.concat_tables([orders, slips, strangers])


def a_thousand_years_on(orders: pa.Table) -> pa.Table:
    return _with(orders, paid_at=pc.add(orders["paid_at"], pa.scalar(dt.timedelta(days=365_000))))


def for_nothing(orders: pa.Table) -> pa.Table:
    return _with(orders, amount=pa.array(np.zeros(orders.num_rows)))


def _with(table: pa.Table, **columns: Any) -> pa.Table:
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table
