from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import pytest

from features.behaviour import feature_specs
from features.errors import TableError
from features.families import families
from features.snapshot import snapshot, to_arrow

if TYPE_CHECKING:
    from features.tables import CustomerTables
    from tests.unit.features.conftest import BuildShop

AS_OF = dt.date(2024, 7, 1)  # a Monday


def at(day: int, month: int = 6, hour: int = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(f"2024-{month:02}-{day:02}T{hour:02}:00")


def line(
    who: str | None, when: dt.datetime | None, paid: float, basket: str | None = None, **rest: object
) -> dict[str, Any]:
    return {"who": who, "at": when, "paid": paid, "basket": basket or f"{who} {when}", **rest}


# Ann: three orders, 100 (two lines), 50 and 30 days apart from each other by 10 and 20 days; and one refund.
ANN = [
    line("ann", at(1), 60, "a1", pieces=2, thing="tea", aisle="drinks", place="web", off=10),
    line("ann", at(1), 40, "a1", pieces=1, thing="cake", aisle="food", place="web", off=-10),
    line("ann", at(11), 50, "a2", pieces=4, thing="tea", aisle="drinks", place="shop"),
    line("ann", at(15), 20, "a2", pieces=1, thing="tea", aisle="drinks", place="shop", returned=True),
    line("ann", at(30, hour=12), 30, "a3", pieces=2, thing="jam", aisle="food", place="web"),
]


def features(tables: CustomerTables, as_of: dt.date = AS_OF) -> Any:
    return {row.pop("customer_id"): row for row in to_arrow(snapshot(tables, as_of)).to_pylist()}


def test_one_shopper_on_paper(shop: BuildShop) -> None:
    ann = features(shop(ANN))["ann"]
    gaps = [10, 19.5]
    expected = {
        "recency_days": 0.5,
        "tenure_days": 30,
        "frequency": 3,
        "monetary": 160,
        "orders_7d": 1,
        "orders_30d": 3,
        "orders_90d": 3,
        "orders_180d": 3,
        "spend_30d": 160,
        "spend_90d": 160,
        "spend_180d": 160,
        "active_days_90d": 3,
        "orders_trend_30d": 1,
        "orders_trend_90d": 1,
        "spend_trend_30d": 1,
        "order_value_mean": 60,
        "order_value_std": math.sqrt((40**2 + 10**2 + 30**2) / 2),
        "last_order_value_ratio": 0.5,
        "gap_days_mean": sum(gaps) / 2,
        "gap_days_std": math.sqrt(2 * ((gaps[1] - gaps[0]) / 2) ** 2),
        "gap_days_max": 19.5,
        "recency_per_gap": 0.5 / 14.75,
        "weekend_share": 2 / 3,  # the 1st and the 30th
        "refund_share": 20 / 180,
        "lines_per_order": 4 / 3,
        "items_per_order": 3,
        "discount_share": 20 / 200,
        "products_90d": 3,
        "categories_90d": 2,
    }
    assert list(ann) == [*expected, "favourite_category", "main_channel"]
    assert ann.pop("favourite_category") == "drinks"  # two lines each: the name decides
    assert ann.pop("main_channel") == "web"
    assert ann == pytest.approx(expected, rel=1e-6)


def test_what_one_order_cannot_tell_is_missing(shop: BuildShop) -> None:
    bob = features(shop([line("bob", at(1, month=1), 10)]))["bob"]
    missing = {name for name, value in bob.items() if value is None or math.isnan(value)}
    assert missing >= {"order_value_std", "gap_days_mean", "gap_days_std", "gap_days_max", "recency_per_gap"}
    assert missing >= {"orders_trend_30d", "spend_trend_30d", "favourite_category", "main_channel"}
    assert (bob["frequency"], bob["orders_180d"], bob["spend_180d"]) == (1, 0, 0)
    assert (bob["products_90d"], bob["last_order_value_ratio"], bob["recency_days"]) == (0, 1, 182)


def test_a_refund_nets_from_its_own_day_and_is_no_order(shop: BuildShop) -> None:
    lines = [line("ann", at(1), 0.1), line("ann", at(2), 0.2), line("ann", at(20), -0.3)]
    before, after = (features(shop(lines), dt.date(2024, 6, day))["ann"] for day in (20, 21))
    assert before["monetary"] == pytest.approx(0.3)
    assert after["monetary"] == 0  # exactly: money is decimal
    assert (before["frequency"], after["frequency"]) == (2, 2)
    assert after["recency_days"] == 19
    assert (before["refund_share"], after["refund_share"]) == (0, 1)


def test_a_customer_with_nothing_but_refunds_is_not_there(shop: BuildShop) -> None:
    assert features(shop([line("ann", at(1), -5)])) == {}


def test_without_order_numbers_a_day_is_an_order(shop: BuildShop) -> None:
    lines = [line("ann", at(1, hour=9), 1), line("ann", at(1, hour=18), 2), line("ann", at(2, hour=9), 3)]
    ann = features(shop(lines, columns={}))["ann"]
    assert (ann["frequency"], ann["lines_per_order"]) == (2, 1.5)
    assert ann["gap_days_mean"] == 1
    assert not {"items_per_order", "discount_share", "products_90d", "favourite_category"} & set(ann)


def test_lines_that_lack_an_order_number_are_one_order_a_day(shop: BuildShop) -> None:
    lines = [line("ann", at(day), 1) | {"basket": None} for day in (1, 1, 2)]
    assert features(shop(lines))["ann"]["frequency"] == 2


def test_rows_without_a_customer_or_a_time_are_left_out(shop: BuildShop) -> None:
    lines = [line("ann", at(1), 1), line(None, at(2), 1, "guest"), line("ann", None, 1, "undated")]
    found = features(shop(lines))
    assert list(found) == ["ann"]
    assert found["ann"]["frequency"] == 1


def test_the_instant_of_the_snapshot_belongs_to_the_future(shop: BuildShop) -> None:
    lines = [line("ann", at(30), 1), line("ann", at(1, month=7), 1), line("bob", at(1, month=7), 1)]
    found = features(shop(lines))
    assert list(found) == ["ann"]
    assert found["ann"]["frequency"] == 1
    midday = features(shop(lines), dt.datetime.fromisoformat("2024-07-01T12:00"))
    assert midday["ann"]["frequency"] == 2
    assert midday["bob"]["recency_days"] == 0.5


def test_events_count_where_they_are_mapped(shop: BuildShop) -> None:
    events = [
        {"who": "ann", "at": at(30), "what": "visit"},
        {"who": "ann", "at": at(1, month=5), "what": "ticket"},
        {"who": "ann", "at": at(2, month=7), "what": "visit"},
    ]
    found = features(shop([*ANN, line("bob", at(1), 1)], events=events))
    names = ("events_7d", "events_30d", "events_90d", "event_kinds_90d")
    assert [found["ann"][name] for name in names] == [1, 1, 2, 2]
    assert [found["bob"][name] for name in names] == [0, 0, 0, 0]
    assert found["ann"]["event_recency_days"] == 1
    assert math.isnan(found["bob"]["event_recency_days"])


def test_responses_count_where_they_are_mapped(shop: BuildShop) -> None:
    days = (at(30), at(1), at(2, month=4), at(1, month=4), at(1, month=7))
    responses = [{"who": "ann", "at": when} for when in days]
    found = features(shop([*ANN, line("bob", at(1), 1)], responses=responses))
    names = ("responses_90d", "response_recency_days")
    assert [found["ann"][name] for name in names] == [3, 1]  # the 2nd of April is 90 days back, the 1st is 91
    assert found["bob"]["responses_90d"] == 0
    assert math.isnan(found["bob"]["response_recency_days"])
    assert "responses_90d" not in features(shop(ANN))["ann"]


def test_each_category_asked_for_has_features_of_its_own(shop: BuildShop) -> None:
    lines = [
        *ANN,  # drinks on the 1st and the 11th, a refund of drinks on the 15th; food on the 1st and the 30th at noon
        line("ann", at(1, month=3), 5, aisle="food"),
        line("ann", at(2, month=4), 5, aisle="food"),
        line("ann", at(30, hour=18), 5, aisle="food"),
        line("ann", at(1, month=7), 5, aisle="drinks"),
        line("bob", at(29), 5, aisle=None),
    ]
    found = features(shop(lines, categories=("drinks", "food", "jewels")))
    names = ("recency_days", "days_30d", "days_90d", "days_180d")
    figures = {
        who: {name: [found[who][f"{one}[{name}]"] for one in names] for name in ("drinks", "food", "jewels")}
        for who in ("ann", "bob")
    }
    nothing = [pytest.approx(math.nan, nan_ok=True), 0, 0, 0]
    assert figures["ann"] == {"drinks": [20, 2, 2, 2], "food": [0.25, 2, 3, 4], "jewels": nothing}
    assert figures["bob"] == {"drinks": nothing, "food": nothing, "jewels": nothing}


def test_a_category_may_be_called_anything(shop: BuildShop) -> None:
    names = ("TEA [loose]", 'the "best"', "baker's", "50% off; --", "Käse & Brot", "a.b")
    tables = shop([line("ann", at(20), 1, aisle=name) for name in names], categories=names)
    ann = features(tables)["ann"]
    assert [ann[f"recency_days[{name}]"] for name in names] == [11] * len(names)
    specs = {spec.name: spec for spec in feature_specs(tables)}
    assert {specs[f"days_30d[{name}]"].category for name in names} == set(names)
    assert specs["recency_days"].category == ""


def test_without_categories_of_products_none_is_asked_for(shop: BuildShop) -> None:
    assert not [name for name in features(shop(ANN, columns={}))["ann"] if "[" in name]


def test_attributes_are_inputs_and_sensitive_columns_never(shop: BuildShop) -> None:
    people = [
        {"who": "ann", "joined": at(21), "plan": "gold", "seats": 3, "gender": "f"},
        {"who": "bob", "joined": at(5, month=7), "plan": None, "seats": None, "gender": "m"},
    ]
    tables = shop([*ANN, line("bob", at(1), 1)], people=people)
    found = features(tables)
    assert (found["ann"]["membership_days"], found["ann"]["plan"], found["ann"]["seats"]) == (10, "gold", 3)
    assert math.isnan(found["bob"]["membership_days"])  # the sign-up was still to come
    assert found["bob"]["plan"] is None
    assert "gender" not in found["ann"]
    kinds = {spec.name: spec.kind for spec in feature_specs(tables)}
    assert (kinds["plan"], kinds["seats"]) == ("categorical", "numeric")


def test_an_attribute_cannot_pose_as_a_feature(shop: BuildShop) -> None:
    tables = shop(ANN, people=[], roles={"attributes": ("plan",)})
    assert tables.customers is not None
    posing = tables.customers.rename(frequency="plan")
    with pytest.raises(TableError, match="lists 'frequency', which is a feature's name"):
        feature_specs(type(tables)(tables.transactions, posing, attributes=("frequency",)))


def test_a_snapshot_has_the_declared_columns_and_types(shop: BuildShop) -> None:
    tables = shop(
        ANN,
        people=[{"who": "ann"}],
        events=[],
        subscriptions=[{"who": "ann", "start": at(1)}],
        responses=[],
        categories=("tea",),
    )
    table = to_arrow(snapshot(tables, AS_OF))
    types = {"numeric": "float", "categorical": "string"}
    declared = [(spec.name, types[spec.kind]) for spec in feature_specs(tables)]
    assert [(column.name, str(column.type)) for column in table.schema] == [("customer_id", "string"), *declared]
    assert table["subscription_days"].to_pylist() == [30]


def test_rows_come_sorted_by_customer(shop: BuildShop) -> None:
    tables = shop([line(who, at(1), 1) for who in ("c", "a", "B", "ä")])
    assert to_arrow(snapshot(tables, AS_OF))["customer_id"].to_pylist() == ["B", "a", "c", "ä"]


def test_every_feature_is_described_once(shop: BuildShop) -> None:
    specs = [feature.spec for family in families(shop(ANN, categories=("tea", "cake"))) for feature in family.features]
    assert len({spec.name for spec in specs}) == len(specs)
    assert all(spec.description for spec in specs)
    assert all(spec.unit for spec in specs if spec.kind == "numeric")
