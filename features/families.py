"""The behaviour features, declared.

Each stands here once, with its unit, its meaning and the aggregate that computes it. Money is net where
a refund is known and gross where it describes orders; days carry fractions; a figure that does not exist is
missing, never zero: one order has no gap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ibis import _

from features import history
from features.specs import Family, categorical, numeric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.specs import Feature
    from features.tables import CustomerTables

ORDER = ~_.refund
# Days: baskets of one errand, minutes apart, would make every silence look endless.
SHORTEST_GAP = 1.0
RECENT = history.RECENT_DAYS


def _orders(days: int) -> Any:  # noqa: ANN401 - Ibis ships no types
    return _.count(where=ORDER & (_.age <= days))


def _ordered_money(days: int) -> Any:  # noqa: ANN401 - as above
    return _.money.sum(where=ORDER & (_.age <= days))


def _money(amount: Any) -> Any:  # noqa: ANN401 - as above
    """A sum of decimals as a float; the sum over no rows is zero."""
    return amount.fill_null(0).cast("float64")


def _share(part: Any, whole: Any) -> Any:  # noqa: ANN401 - as above
    """A ratio, missing where the whole is zero. Engines differ on dividing by zero; none gets to."""
    return part.cast("float64") / whole.cast("float64").nullif(0)


LEDGER = Family(
    "transactions",
    history.ledger,
    (
        numeric("recency_days", "days", "Since the last order", _.age.min(where=ORDER), always=True),
        numeric("tenure_days", "days", "Since the first order", _.age.max(where=ORDER), always=True, ages=True),
        numeric("frequency", "orders", "So far", _.count(where=ORDER), without_rows=0),
        numeric("monetary", "money", "Spent so far, net of refunds", _money(_.money.sum()), without_rows=0),
        *(
            numeric(f"orders_{days}d", "orders", f"In the last {days} days", _orders(days), without_rows=0)
            for days in (7, 30, 90, 180)
        ),
        *(
            numeric(
                f"spend_{days}d",
                "money",
                f"Spent in the last {days} days, net of refunds made in them",
                _money(_.money.sum(where=_.age <= days)),
                without_rows=0,
            )
            for days in (30, 90, 180)
        ),
        numeric(
            f"active_days_{RECENT}d",
            "days",
            f"Days with an order in the last {RECENT} days",
            _.day.nunique(where=ORDER & (_.age <= RECENT)),
            without_rows=0,
        ),
        *(
            numeric(
                f"orders_trend_{days}d",
                "share",
                f"Orders of the last {days} days in those of the last {2 * days}; a half is steady",
                _share(_orders(days), _orders(2 * days)),
            )
            for days in (30, 90)
        ),
        numeric(
            "spend_trend_30d",
            "share",
            "Money ordered in the last 30 days in that of the last 60; a half is steady",
            _share(_money(_ordered_money(30)), _money(_ordered_money(60))),
        ),
        numeric("order_value_mean", "money", "Mean value of an order", _money(_.money).mean(where=ORDER), always=True),
        numeric("order_value_std", "money", "Its standard deviation", _money(_.money).std(where=ORDER)),
        numeric(
            "last_order_value_ratio",
            "ratio",
            "The last order's value to the mean value",
            _share(_money(_.money).mean(where=_.last), _money(_.money).mean(where=ORDER)),
        ),
        numeric("gap_days_mean", "days", "Mean time between orders", _.gap.mean()),
        numeric("gap_days_std", "days", "Its standard deviation", _.gap.std()),
        numeric("gap_days_max", "days", "The longest time between orders", _.gap.max()),
        numeric(
            "recency_per_gap",
            "ratio",
            "Time since the last order to the mean time between orders, of a day at least",
            _share(_.age.min(where=ORDER), _.gap.mean().clip(lower=SHORTEST_GAP)),
        ),
        numeric(
            "weekend_share", "share", "Orders placed on Saturday or Sunday", _.weekend.mean(where=ORDER), always=True
        ),
        numeric(
            "refund_share",
            "share",
            "Money given back in money ordered",
            _share(_money(-_.money.sum(where=_.refund)), _money(_.money.sum(where=ORDER))),
        ),
        numeric("lines_per_order", "lines", "Mean lines of an order", _.lines.mean(where=ORDER), always=True),
        numeric(
            "items_per_order",
            "items",
            "Mean quantity of an order",
            _["items"].mean(where=ORDER),
            needs="quantity",
        ),
        numeric(
            "discount_share",
            "share",
            "Money taken off in money ordered before it was taken off",
            _share(
                _money(_.discount.sum(where=ORDER)),
                _money(_.discount.sum(where=ORDER)) + _money(_.money.sum(where=ORDER)),
            ),
            needs="discount",
        ),
    ),
)
PRODUCTS = Family(
    "transactions",
    history.recent_lines,
    (
        numeric(
            f"products_{RECENT}d",
            "products",
            f"Different ones bought in the last {RECENT} days",
            _["product"].nunique(),
            needs="product",
            without_rows=0,
        ),
    ),
)
CATEGORIES = Family(
    "transactions",
    history.categories,
    (
        numeric(
            f"categories_{RECENT}d",
            "categories",
            f"Different ones bought from in the last {RECENT} days",
            _.count(where=_.age <= RECENT),
            needs="category",
            without_rows=0,
        ),
        categorical(
            "favourite_category",
            "The category of most lines so far",
            _.name.max(where=_.place == 0),
            needs="category",
        ),
    ),
)
CHANNELS = Family(
    "transactions",
    history.channels,
    (
        categorical(
            "main_channel", "The channel of most orders so far", _.name.max(where=_.place == 0), needs="channel"
        ),
    ),
)
EVENTS = Family(
    "events",
    history.events,
    (
        *(
            numeric(
                f"events_{days}d",
                "events",
                f"In the last {days} days",
                _.count(where=_.age <= days),
                without_rows=0,
            )
            for days in (7, 30, 90)
        ),
        numeric(
            f"event_kinds_{RECENT}d",
            "kinds",
            f"Different ones in the last {RECENT} days",
            _.kind.nunique(where=_.age <= RECENT),
            needs="kind",
            without_rows=0,
        ),
        numeric("event_recency_days", "days", "Since the last event", _.age.min()),
    ),
)
SUBSCRIPTIONS = Family(
    "subscriptions",
    history.subscriptions,
    (numeric("subscription_days", "days", "Since the first subscription started", _.age.max(), ages=True),),
)
RESPONSES = Family(
    "responses",
    history.responses,
    (
        numeric(
            f"responses_{RECENT}d",
            "responses",
            f"To campaigns in the last {RECENT} days",
            _.count(where=_.age <= RECENT),
            without_rows=0,
        ),
        numeric("response_recency_days", "days", "Since the last response to a campaign", _.age.min()),
    ),
)
FAMILIES = (LEDGER, PRODUCTS, CATEGORIES, CHANNELS, EVENTS, SUBSCRIPTIONS, RESPONSES)


def families(tables: CustomerTables) -> tuple[Family, ...]:
    """Those that every business has, and one that asks the same of each category of these tables."""
    asked = tuple(feature for category in tables.categories for feature in _of_category(category))
    return (*FAMILIES, Family("transactions", history.purchase_days, asked)) if asked else FAMILIES


def _of_category(category: str) -> Iterator[Feature]:
    bought = _.category == category
    told = (
        numeric(
            f"recency_days[{category}]",
            "days",
            f"Since the last purchase of {category}",
            _.age.min(where=bought),
            needs="category",
        ),
        *(
            numeric(
                f"days_{days}d[{category}]",
                "days",
                f"Days with a purchase of {category} in the last {days} days",
                _.count(where=bought & (_.age <= days)),
                needs="category",
                without_rows=0,
            )
            for days in (30, 90, 180)
        ),
    )
    for feature in told:
        yield replace(feature, spec=replace(feature.spec, category=category))
