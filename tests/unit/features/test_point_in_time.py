"""The law of the room: what happens at or after `as_of` changes no feature, and only then a label."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from features.labels import churned, outcomes
from features.snapshot import snapshot

if TYPE_CHECKING:
    import ibis
    from hypothesis.strategies import SearchStrategy

    from features.tables import CustomerTables
    from tests.unit.features.conftest import Ask

    Times = SearchStrategy[dt.datetime]

AS_OF = dt.datetime.fromisoformat("2024-07-01")
CATEGORIES = ("drinks", "food")
CUSTOMERS = st.sampled_from(["ann", "bob", "cid"])


def times(first: int, last: int) -> Times:
    """Times so many seconds from the snapshot, the snapshot itself among them."""
    return st.integers(first, last).map(lambda seconds: AS_OF + dt.timedelta(seconds=seconds))


DAY = 86_400
YEAR = 365 * DAY
HORIZON = 30
BEFORE = times(-YEAR, -1)
WITHIN = times(0, HORIZON * DAY - 1)
BEYOND = times(HORIZON * DAY, YEAR)
AFTER = times(0, YEAR) | st.just(AS_OF)


def lines(time: Times) -> SearchStrategy[Any]:
    return st.lists(
        st.fixed_dictionaries(
            {
                "who": CUSTOMERS,
                "at": time,
                "paid": st.integers(-500, 5000).map(lambda cents: cents / 100),
                "basket": st.sampled_from(["a", "b", "c", "d", None]),
                "pieces": st.integers(0, 9),
                "thing": st.sampled_from(["tea", "cake"]),
                "aisle": st.sampled_from(["drinks", "food", None]),
                "place": st.sampled_from(["web", "shop"]),
                "off": st.sampled_from([0.0, 0.5]),
                "returned": st.booleans(),
            }
        ),
        max_size=6,
    )


def events(time: Times) -> SearchStrategy[Any]:
    return st.lists(st.fixed_dictionaries({"who": CUSTOMERS, "at": time}), max_size=3)


def subscriptions(start: Times) -> SearchStrategy[Any]:
    end = st.none() | BEFORE | AFTER
    return st.lists(st.fixed_dictionaries({"who": CUSTOMERS, "start": start, "end": end}), max_size=3)


def shops(time: Times) -> SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {
            "transactions": lines(time),
            "events": events(time),
            "subscriptions": subscriptions(time),
            "responses": events(time),
        }
    )


def baskets(time: Times) -> SearchStrategy[Any]:
    return st.fixed_dictionaries({"transactions": lines(time), "responses": events(time)})


def features(tables: CustomerTables) -> Any:
    return snapshot(tables, AS_OF)


def followed(tables: CustomerTables) -> ibis.Table:
    return outcomes(tables, AS_OF, horizon_days=HORIZON)


def labels(tables: CustomerTables) -> ibis.Table:
    return churned(tables, AS_OF, horizon_days=HORIZON, active_days=90)


@settings(max_examples=30, deadline=None)
@given(past=shops(BEFORE), future=shops(AFTER))
def test_the_future_changes_no_feature_and_adds_no_customer(ask: Ask, past: Any, future: Any) -> None:
    both = {name: past[name] + future[name] for name in past}
    assert ask(features, both, CATEGORIES) == ask(features, past, CATEGORIES)


@settings(max_examples=30, deadline=None)
@given(past=lines(BEFORE), future=lines(AFTER))
def test_the_future_changes_labels_but_not_whose_they_are(ask: Ask, past: Any, future: Any) -> None:
    alone: dict[str, int] = dict(ask(labels, {"transactions": past}))
    answers: dict[str, int] = dict(ask(labels, {"transactions": past + future}))
    close = AS_OF + dt.timedelta(days=HORIZON)
    returned = {line["who"] for line in future if line["at"] < close and not line["returned"] and line["paid"] >= 0}
    assert set(alone.values()) <= {1}
    assert answers == {who: int(who not in returned) for who in alone}


@settings(max_examples=30, deadline=None)
@given(past=baskets(BEFORE), within=baskets(WITHIN), beyond=baskets(BEYOND))
def test_outcomes_are_those_of_the_horizon(ask: Ask, past: Any, within: Any, beyond: Any) -> None:
    both = {name: past[name] + within[name] for name in past}
    all_of_it = {name: both[name] + beyond[name] for name in past}
    answers = ask(followed, both, CATEGORIES)
    assert ask(followed, all_of_it, CATEGORIES) == answers
    assert answers == expected_outcomes(past["transactions"], within["transactions"], within["responses"])


@settings(max_examples=30, deadline=None)
@given(past=baskets(BEFORE), more=baskets(BEFORE), within=baskets(WITHIN))
def test_the_past_adds_customers_and_changes_no_outcome(ask: Ask, past: Any, more: Any, within: Any) -> None:
    less, all_of_it = (
        {row[0]: row for row in ask(followed, {name: one[name] + within[name] for name in past}, CATEGORIES)}
        for one in (past, {name: past[name] + more[name] for name in past})
    )
    assert {who: all_of_it[who] for who in less} == less


def expected_outcomes(past: Any, within: Any, responses: Any) -> list[tuple[Any, ...]]:
    """The same in plain Python: customer, purchased, revenue, a purchase of each category, responded."""
    rows = []
    for who in sorted({line["who"] for line in past if is_order(line)}):
        own = [line for line in within if line["who"] == who]
        bought = [line for line in own if is_order(line)]
        cents = sum(-abs(cents_of(line)) if line["returned"] else cents_of(line) for line in own)
        rows.append(
            (
                who,
                int(bool(bought)),
                max(cents, 0) / 100,
                *(int(any(line["aisle"] == name for line in bought)) for name in CATEGORIES),
                int(any(one["who"] == who for one in responses)),
            )
        )
    return rows


def is_order(line: Any) -> bool:
    return not line["returned"] and line["paid"] >= 0


def cents_of(line: Any) -> int:
    cents: int = round(line["paid"] * 100)
    return cents
