"""Consent: whoever did not give it is named when customers are scored, told nothing of, and never learnt from."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

from features.behaviour import feature_specs
from features.labels import churned, outcomes
from features.snapshot import labelled_snapshot, snapshot, to_arrow

if TYPE_CHECKING:
    from features.tables import CustomerTables
    from tests.unit.features.conftest import BuildShop

AS_OF = dt.date(2024, 7, 1)
YESTERDAY = dt.datetime.fromisoformat("2024-06-30")
EVERYBODY = ("no", "silent", "unknown", "yes")
PEOPLE: list[dict[str, Any]] = [{"who": "yes", "agreed": True}, {"who": "no", "agreed": False}, {"who": "silent"}]


def consenting_shop(shop: BuildShop) -> CustomerTables:
    lines = [{"who": who, "at": YESTERDAY, "paid": 2.5, "basket": who, "aisle": "tea"} for who in EVERYBODY]
    return shop(lines, people=PEOPLE, roles={"consent": "agreed", "attributes": ("plan",)}, categories=("tea",))


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def test_everybody_is_named_and_only_those_who_consent_are_described(shop: BuildShop) -> None:
    tables = consenting_shop(shop)
    table = to_arrow(snapshot(tables, AS_OF))
    assert table.schema.names == ["customer_id", "consent", *(spec.name for spec in feature_specs(tables))]
    assert str(table.schema.field("consent").type) == "bool"
    rows = {row.pop("customer_id"): row for row in table.to_pylist()}
    assert list(rows) == list(EVERYBODY)
    assert {who: row.pop("consent") for who, row in rows.items()} == {who: who == "yes" for who in EVERYBODY}
    assert (rows["yes"]["frequency"], rows["yes"]["monetary"], rows["yes"]["days_30d[tea]"]) == (1, 2.5, 1)
    assert all(is_missing(value) for who in ("no", "silent", "unknown") for value in rows[who].values())


def test_nobody_else_is_learnt_from(shop: BuildShop) -> None:
    tables = consenting_shop(shop)
    for answers in (
        churned(tables, AS_OF, horizon_days=30, active_days=90),
        outcomes(tables, AS_OF, horizon_days=30),
    ):
        table = to_arrow(labelled_snapshot(tables, AS_OF, answers))
        assert table.column("customer_id").to_pylist() == ["yes"]
        assert "consent" not in table.schema.names


def test_without_a_time_axis_consent_counts_too(shop: BuildShop) -> None:
    people = [row | {"left": row["who"] == "no"} for row in PEOPLE]
    tables = shop(people=people, roles={"consent": "agreed", "attributes": ("seats",), "churned": "left"})
    assert to_arrow(snapshot(tables, AS_OF)).column("consent").to_pylist() == [False, False, True]
    answers = churned(tables, AS_OF, horizon_days=0, active_days=90)
    assert to_arrow(labelled_snapshot(tables, AS_OF, answers)).column("customer_id").to_pylist() == ["yes"]


def test_where_nobody_is_asked_there_is_no_column(shop: BuildShop) -> None:
    lines = [{"who": "ann", "at": YESTERDAY, "paid": 2.5, "basket": "a"}]
    assert "consent" not in to_arrow(snapshot(shop(lines, people=PEOPLE), AS_OF)).schema.names
