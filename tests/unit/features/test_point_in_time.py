"""The law of the room: what happens at or after `as_of` changes no feature, and only then a label."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from features.labels import churned
from features.snapshot import snapshot

if TYPE_CHECKING:
    import ibis
    from hypothesis.strategies import SearchStrategy

    from features.tables import CustomerTables
    from tests.unit.features.conftest import Ask

    Times = SearchStrategy[dt.datetime]

AS_OF = dt.datetime.fromisoformat("2024-07-01")
CUSTOMERS = st.sampled_from(["ann", "bob", "cid"])


def times(first: int, last: int) -> Times:
    """Times so many seconds from the snapshot, the snapshot itself among them."""
    return st.integers(first, last).map(lambda seconds: AS_OF + dt.timedelta(seconds=seconds))


YEAR = 365 * 86_400
BEFORE = times(-YEAR, -1)
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
        {"transactions": lines(time), "events": events(time), "subscriptions": subscriptions(time)}
    )


def features(tables: CustomerTables) -> Any:
    return snapshot(tables, AS_OF)


def labels(tables: CustomerTables) -> ibis.Table:
    return churned(tables, AS_OF, horizon_days=30, active_days=90)


@settings(max_examples=30, deadline=None)
@given(past=shops(BEFORE), future=shops(AFTER))
def test_the_future_changes_no_feature_and_adds_no_customer(ask: Ask, past: Any, future: Any) -> None:
    both = {name: past[name] + future[name] for name in past}
    assert ask(features, both) == ask(features, past)


@settings(max_examples=30, deadline=None)
@given(past=lines(BEFORE), future=lines(AFTER))
def test_the_future_changes_labels_but_not_whose_they_are(ask: Ask, past: Any, future: Any) -> None:
    alone: dict[str, int] = dict(ask(labels, {"transactions": past}))
    answers: dict[str, int] = dict(ask(labels, {"transactions": past + future}))
    close = AS_OF + dt.timedelta(days=30)
    returned = {line["who"] for line in future if line["at"] < close and not line["returned"] and line["paid"] >= 0}
    assert set(alone.values()) <= {1}
    assert answers == {who: int(who not in returned) for who in alone}
