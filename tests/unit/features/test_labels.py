from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

from features.labels import churned
from features.snapshot import labelled_snapshot, snapshot, to_arrow

if TYPE_CHECKING:
    from features.tables import CustomerTables
    from tests.unit.features.conftest import BuildShop

AS_OF = dt.date(2024, 7, 1)
WINDOW = {"horizon_days": 30, "active_days": 90}


def day(number: int) -> dt.datetime:
    """Midnight so many days after the snapshot."""
    return dt.datetime.fromisoformat("2024-07-01") + dt.timedelta(days=number)


def line(who: str | None, when: dt.datetime | None, paid: float = 1, **rest: object) -> dict[str, Any]:
    return {"who": who, "at": when, "paid": paid, "basket": f"{who} {when}", **rest}


def answers(tables: CustomerTables) -> dict[str, int]:
    rows = churned(tables, AS_OF, **WINDOW).order_by("customer").to_pyarrow()
    assert str(rows.schema.field("churned").type) == "int8"
    return {row["customer"]: row["churned"] for row in rows.to_pylist()}


def test_churned_is_no_order_within_the_horizon(shop: BuildShop) -> None:
    lines = [
        line("stays", day(-1)),
        line("stays", day(0)),
        line("returns too late", day(-90)),
        line("returns too late", day(30)),
        line("leaves", day(-1)),
        line("gone before", day(-91)),
        line("gone before", day(1)),
        line("comes later", day(1)),
    ]
    assert answers(shop(lines)) == {"stays": 0, "returns too late": 1, "leaves": 1}


def test_a_refund_neither_makes_nor_keeps_a_customer(shop: BuildShop) -> None:
    lines = [line("ann", day(-1)), line("ann", day(1), -1), line("bob", day(-1), 1, returned=True)]
    assert answers(shop(lines)) == {"ann": 1}


def test_a_subscriber_churns_when_nothing_runs_at_the_end_of_the_horizon(shop: BuildShop) -> None:
    subscriptions = [
        {"who": "open", "start": day(-9), "end": None},
        {"who": "ends after", "start": day(-9), "end": day(30)},
        {"who": "ends within", "start": day(-9), "end": day(29)},
        {"who": "ends at once", "start": day(-9), "end": day(0)},
        {"who": "renews", "start": day(-9), "end": day(10)},
        {"who": "renews", "start": day(10), "end": day(40)},
        {"who": "ended before", "start": day(-9), "end": day(-1)},
        {"who": "starts then", "start": day(0), "end": None},
    ]
    expected = {"ends after": 0, "ends at once": 1, "ends within": 1, "open": 0, "renews": 0}
    assert answers(shop([line("open", day(-1))], subscriptions=subscriptions)) == expected


def test_an_observed_answer_is_taken_as_it_is(shop: BuildShop) -> None:
    people = [{"who": "ann", "left": True}, {"who": "bob", "left": False}, {"who": "cid", "left": None}]
    tables = shop(people=people, roles={"churned": "left", "attributes": ("seats",)})
    assert not tables.has_time_axis
    assert answers(tables) == {"ann": 1, "bob": 0}


def test_without_a_time_axis_everybody_in_the_customers_table_is_a_row(shop: BuildShop) -> None:
    people = [{"who": "ann", "seats": 2, "left": True}, {"who": "bob", "seats": 1, "left": False}]
    tables = shop([line("ann", day(-1))], people=people, roles={"churned": "left", "attributes": ("seats",)})
    rows = to_arrow(labelled_snapshot(tables, AS_OF, **WINDOW)).to_pylist()
    assert [(row["customer_id"], row["seats"], row["churned"]) for row in rows] == [("ann", 2, 1), ("bob", 1, 0)]
    assert rows[0]["recency_days"] == 1
    assert (rows[1]["frequency"], rows[1]["spend_90d"]) == (0, 0)
    assert math.isnan(rows[1]["recency_days"])
    assert "left" not in rows[0]


def test_a_labelled_snapshot_holds_who_was_a_customer(shop: BuildShop) -> None:
    tables = shop([line("ann", day(-1)), line("bob", day(-91)), line("cid", day(1))])
    table = to_arrow(labelled_snapshot(tables, AS_OF, **WINDOW))
    assert table.schema.names[0] == "customer_id"
    assert table.schema.names[-1] == "churned"
    assert table.select(["customer_id", "churned"]).to_pylist() == [{"customer_id": "ann", "churned": 1}]


def test_whoever_gave_no_consent_is_neither_learnt_from_nor_scored(shop: BuildShop) -> None:
    people = [{"who": "yes", "agreed": True}, {"who": "no", "agreed": False}, {"who": "silent"}]
    lines = [line(who, day(-1)) for who in ("yes", "no", "silent", "unknown")]
    tables = shop(lines, people=people, roles={"consent": "agreed"})
    for rows in (labelled_snapshot(tables, AS_OF, **WINDOW), snapshot(tables, AS_OF)):
        assert to_arrow(rows).column("customer_id").to_pylist() == ["yes"]
