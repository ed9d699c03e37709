from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import pytest

from features.errors import TooLittleError
from features.labels import churned, outcomes
from features.snapshot import labelled_snapshot, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

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


def labelled(tables: CustomerTables) -> pa.Table:
    return to_arrow(labelled_snapshot(tables, AS_OF, churned(tables, AS_OF, **WINDOW)))


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
    rows = labelled(tables).to_pylist()
    assert [(row["customer_id"], row["seats"], row["churned"]) for row in rows] == [("ann", 2, 1), ("bob", 1, 0)]
    assert rows[0]["recency_days"] == 1
    assert (rows[1]["frequency"], rows[1]["spend_90d"]) == (0, 0)
    assert math.isnan(rows[1]["recency_days"])
    assert "left" not in rows[0]


def test_a_labelled_snapshot_holds_who_was_a_customer(shop: BuildShop) -> None:
    tables = shop([line("ann", day(-1)), line("bob", day(-91)), line("cid", day(1))])
    table = labelled(tables)
    assert table.schema.names[0] == "customer_id"
    assert table.schema.names[-1] == "churned"
    assert table.select(["customer_id", "churned"]).to_pylist() == [{"customer_id": "ann", "churned": 1}]


def followed(tables: CustomerTables) -> dict[str, dict[str, Any]]:
    """The outcomes of 30 days, by customer."""
    return {row.pop("customer"): row for row in outcomes(tables, AS_OF, horizon_days=30).to_pyarrow().to_pylist()}


def test_outcomes_are_of_those_who_had_ordered(shop: BuildShop) -> None:
    lines = [
        line("ann", day(-1)),
        line("ann", day(0)),
        line("bob", day(-1000)),
        line("comes later", day(0)),
        line("gave back before", day(-1), -5),
        line("gave back before", day(1)),
    ]
    assert {who: row["purchased"] for who, row in followed(shop(lines)).items()} == {"ann": 1, "bob": 0}


def test_an_outcome_happens_within_the_horizon(shop: BuildShop) -> None:
    last = day(30) - dt.timedelta(microseconds=1)
    lines = [line(who, day(-1)) for who in ("at once", "at last", "too late")]
    lines += [line("at once", day(0), 2), line("at last", last, 3), line("too late", day(30), 4)]
    found = followed(shop(lines))
    assert {who: row["purchased"] for who, row in found.items()} == {"at once": 1, "at last": 1, "too late": 0}
    assert {who: row["revenue"] for who, row in found.items()} == {"at once": 2, "at last": 3, "too late": 0}


def test_revenue_is_net_of_the_refunds_of_those_days_and_never_negative(shop: BuildShop) -> None:
    lines = [line(who, day(-9), 50) for who in ("some", "all", "more", "before", "unpriced", "none")]
    lines += [line("some", day(1), 10.1), line("some", day(2), -0.2), line("some", day(3), 3, returned=True)]
    lines += [line("all", day(1), 0.3), line("all", day(2), -0.1), line("all", day(3), -0.2)]
    lines += [line("more", day(1), 10), line("more", day(2), -50)]
    lines += [line("before", day(-1), -50), line("before", day(1), 10)]
    lines += [line("unpriced", day(1)) | {"paid": None}]
    found = followed(shop(lines))
    assert {who: row["revenue"] for who, row in found.items()} == {
        "some": pytest.approx(6.9),
        "all": 0,  # exactly: money is decimal
        "more": 0,
        "before": 10,
        "unpriced": 0,
        "none": 0,
    }


def test_a_refund_is_no_purchase_and_a_gift_is_one(shop: BuildShop) -> None:
    lines = [line("refunded", day(-9)), line("refunded", day(1), -1), line("given", day(-9)), line("given", day(1), 0)]
    found = followed(shop(lines))
    assert {who: row["purchased"] for who, row in found.items()} == {"refunded": 0, "given": 1}


ODD_NAMES = ("tea", "TEA [loose]", 'the "best"', "baker's", "50% off; --", "Käse & Brot", "a.b")


def test_each_category_asked_for_is_an_outcome(shop: BuildShop) -> None:
    lines = [line("ann", day(-9), aisle=name) for name in ODD_NAMES]
    lines += [line("ann", day(1), aisle=name) for name in ODD_NAMES[1:]]
    lines += [line("bob", day(-9), aisle=None), line("bob", day(1), aisle=None)]
    lines += [line("cid", day(-9)), line("cid", day(1), -1, aisle="tea"), line("cid", day(30), aisle="tea")]
    tables = shop(lines, categories=ODD_NAMES)
    found = followed(tables)
    names = [f"purchased[{name}]" for name in ODD_NAMES]
    assert [found["ann"][name] for name in names] == [0, 1, 1, 1, 1, 1, 1]
    assert [found["bob"][name] for name in ("purchased", *names)] == [1] + [0] * 7
    assert [found["cid"][name] for name in ("purchased", *names)] == [0] * 8


def test_a_response_is_an_outcome_where_responses_are_mapped(shop: BuildShop) -> None:
    lines = [line(who, day(-9)) for who in ("twice", "before", "after", "never")]
    responses = [
        {"who": "twice", "at": day(0)},
        {"who": "twice", "at": day(29)},
        {"who": "before", "at": day(-1)},
        {"who": "after", "at": day(30)},
        {"who": "a stranger", "at": day(1)},
    ]
    found = followed(shop(lines, responses=responses))
    assert {who: row["responded"] for who, row in found.items()} == {"twice": 1, "before": 0, "after": 0, "never": 0}
    assert "responded" not in followed(shop(lines))["twice"]


def test_outcomes_have_the_declared_columns_and_types(shop: BuildShop) -> None:
    tables = shop([line("ann", day(-1))], responses=[], categories=("tea",))
    schema = outcomes(tables, AS_OF, horizon_days=30).to_pyarrow().schema
    assert [(column.name, str(column.type)) for column in schema] == [
        ("customer", "string"),
        ("purchased", "int8"),
        ("revenue", "double"),
        ("purchased[tea]", "int8"),
        ("responded", "int8"),
    ]


def test_without_transactions_there_are_no_outcomes(shop: BuildShop) -> None:
    with pytest.raises(TooLittleError, match=r"tables\.transactions is not mapped, so nobody is known to have ordered"):
        outcomes(shop(people=[], roles={"churned": "left"}), AS_OF, horizon_days=30)
