"""The sections of `regulars.toml`: every key once, with its kind, default and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from features.keys import (
    COLUMN,
    COLUMN_OR_COLUMNS,
    COLUMNS,
    COUNT,
    CUSTOMERS,
    DATE,
    DAYS,
    FILE,
    FOLDER,
    NAMES,
    SHARE,
    TEXT,
    choice,
    key,
)

if TYPE_CHECKING:
    import datetime as dt

SOURCE = "a Parquet or CSV file, folder or glob, a DuckDB file, an Ibis URL, or `package:<package>/<file>`"
TABLE = "the table's name, where the source is a database"
KEEP, DROP = "keep", "drop"
REQUIRED, OPTIONAL = "required", "optional"
DEFAULT_TRACKING_URI = "sqlite:///.regulars/mlflow.db"


@dataclass(frozen=True)
class Business:
    """Who the project is about."""

    name: str = key(TEXT, "the business, as reports print it")
    currency: str = key(TEXT, "the currency of amounts, as reports print it", default="")


@dataclass(frozen=True)
class Transactions:
    """One row a line of an order, or one row an order."""

    source: str = key(TEXT, SOURCE)
    customer: str = key(COLUMN, "who bought: text or whole numbers; rows without one are left out")
    time: str = key(COLUMN, "when: a timestamp or a date; rows without one are left out")
    amount: str = key(COLUMN, "money paid for the line; a negative amount is a refund")
    table: str | None = key(TEXT, TABLE, default=None)
    order: str | None = key(COLUMN, "which order the line is of", default=None, shown="one order a customer and day")
    quantity: str | None = key(COLUMN, "how many items", default=None)
    product: str | None = key(COLUMN, "what was bought", default=None)
    category: str | None = key(COLUMN, "what sort of product", default=None, shown="that of `tables.products`")
    channel: str | None = key(COLUMN, "where the order was placed", default=None)
    discount: tuple[str, ...] = key(COLUMN_OR_COLUMNS, "money taken off, either sign; several are summed", default=())
    refund: str | None = key(COLUMN, "a boolean that marks refund lines", default=None, shown="negative amounts only")
    duplicates: str | None = key(
        choice(KEEP, DROP),
        "what lines are that repeat another in every mapped column: lines of their own, or one exported twice",
        default=None,
        shown="refused where more than 1 % of the lines do",
    )


@dataclass(frozen=True)
class Products:
    """One row a product; joined to transactions that have no category of their own."""

    source: str = key(TEXT, SOURCE)
    product: str = key(COLUMN, "the product, as in `tables.transactions.product`")
    category: str = key(COLUMN, "what sort of product")
    table: str | None = key(TEXT, TABLE, default=None)


@dataclass(frozen=True)
class Customers:
    """One row a customer."""

    source: str = key(TEXT, SOURCE)
    customer: str = key(COLUMN, "the customer, as in the other tables")
    table: str | None = key(TEXT, TABLE, default=None)
    signed_up: str | None = key(COLUMN, "when the customer signed up: a timestamp or a date", default=None)
    attributes: tuple[str, ...] = key(
        COLUMNS,
        "numbers or texts that models may use; they carry no time, so they must have been true all along",
        default=(),
    )
    sensitive: tuple[str, ...] = key(COLUMNS, "groups that audits compare; never a model's input", default=())
    consent: str | None = key(
        COLUMN,
        "a boolean: may be scored and learnt from; where mapped, all others are named and nothing more",
        default=None,
    )
    churned: str | None = key(
        COLUMN, "an observed boolean: the customer left; churn then has no time axis", default=None
    )


@dataclass(frozen=True)
class Events:
    """One row a visit, an opened e-mail, a ticket."""

    source: str = key(TEXT, SOURCE)
    customer: str = key(COLUMN, "the customer, as in the other tables")
    time: str = key(COLUMN, "when: a timestamp or a date; rows without one are left out")
    table: str | None = key(TEXT, TABLE, default=None)
    kind: str | None = key(COLUMN, "what sort of event", default=None)


@dataclass(frozen=True)
class Subscriptions:
    """One row a subscription, or one row a paid period of it."""

    source: str = key(TEXT, SOURCE)
    customer: str = key(COLUMN, "the customer, as in the other tables")
    start: str = key(COLUMN, "when it started: a timestamp or a date")
    end: str = key(COLUMN, "when it ended: a timestamp or a date, empty while it runs")
    table: str | None = key(TEXT, TABLE, default=None)


@dataclass(frozen=True)
class Responses:
    """One row a response to a campaign: a redeemed coupon, a clicked mail."""

    source: str = key(TEXT, SOURCE)
    customer: str = key(COLUMN, "the customer, as in the other tables")
    time: str = key(COLUMN, "when: a timestamp or a date; rows without one are left out")
    table: str | None = key(TEXT, TABLE, default=None)


@dataclass(frozen=True)
class Churn:
    """What leaving means."""

    horizon_days: int | None = key(
        DAYS, "how long a silence counts as leaving", default=None, shown="from the gaps between orders"
    )
    active_days: int = key(DAYS, "who is asked: customers who ordered this recently", default=90)


@dataclass(frozen=True)
class Propensity:
    """Which purchases are foreseen."""

    horizon_days: int | None = key(
        DAYS, "within how many days", default=None, shown="what half of the gaps between orders stay within"
    )
    categories: tuple[str, ...] = key(
        NAMES, "values of the transactions' category whose purchase is foreseen one by one", default=()
    )


@dataclass(frozen=True)
class Cltv:
    """Which revenue is foreseen."""

    horizon_days: int | None = key(
        DAYS, "over how many days", default=None, shown="the longest of 30, 60, 90, 180, 365 that the history allows"
    )


@dataclass(frozen=True)
class Training:
    """What models learn from."""

    snapshots: int = key(COUNT, "how many past dates to learn from", default=7)
    spacing_days: int = key(DAYS, "how far apart they lie", default=30)
    most_customers: int = key(
        CUSTOMERS,
        "how many customers to learn from; of a larger base so many are drawn, always the same ones",
        default=100_000,
    )
    drop_features: tuple[str, ...] = key(NAMES, "features that no model may use", default=())
    acknowledge_leaks: tuple[str, ...] = key(NAMES, "leak suspects that you looked into and vouch for", default=())


@dataclass(frozen=True)
class Registry:
    """Where models are kept."""

    tracking_uri: str = key(
        TEXT,
        "the MLflow server or database",
        default=DEFAULT_TRACKING_URI,
        shown="`$MLFLOW_TRACKING_URI`, else `.regulars/mlflow.db`",
    )
    bundles: Path = key(  # noqa: RUF009 - declares the field, as `field` does
        FOLDER, "where servers find their bundles", default=Path(".regulars/bundles")
    )


@dataclass(frozen=True)
class Privacy:
    """Of whom nothing may be known."""

    forgotten: Path = key(  # noqa: RUF009 - as above
        FILE,
        "ids of customers whom no feature and no training may know, one a line; `regulars forget` adds to it",
        default=Path(".regulars/forgotten.txt"),
    )


@dataclass(frozen=True)
class Promotion:
    """What a version must show before it becomes champion, beside what its training has shown."""

    audit: str = key(
        choice(REQUIRED, OPTIONAL),
        "whether a fairness audit must have passed, where sensitive attributes are mapped",
        default=REQUIRED,
    )
    row_milliseconds: int = key(COUNT, "the most that scoring one customer may take (the median)", default=5)
    table_milliseconds: int = key(COUNT, "the most that scoring 1,000 customers may take", default=250)
    megabytes: int = key(COUNT, "the most memory that a loaded version may take", default=128)


@dataclass(frozen=True)
class Audits:
    """What a fairness audit tolerates."""

    top_share: float = key(SHARE, "who is reached: the share of customers, from the highest score down", default=0.2)
    minimum_outcomes: int = key(
        COUNT, "groups are judged from so many customers with the outcome, and as many without it", default=30
    )
    minimum_customers: int = key(
        COUNT, "groups are judged from so many customers, where value or segments are audited", default=200
    )
    tpr_gap: float = key(
        SHARE, "how far the share of leavers that is reached may lie from the reference group's", default=0.1
    )
    observed_expected: float = key(
        SHARE, "outcomes that happened over those foreseen: at least this, at most one over it", default=0.8
    )
    exposure_ratio: float = key(
        SHARE, "share reached over the reference group's: at least this, at most one over it", default=0.8
    )
    total_error: float = key(SHARE, "how far foreseen over actual revenue may lie from 1", default=0.1)
    error_ratio: float = key(
        SHARE, "relative error over the reference group's: at least this, at most one over it", default=0.8
    )
    cluster_ratio: float = key(
        SHARE, "a group's share of a segment over its share of all: at least this, at most one over it", default=0.8
    )
    cramers_v: float = key(SHARE, "how closely segments may go along with an attribute, 0 to 1", default=0.1)


@dataclass(frozen=True)
class Waiver:
    """A finding that somebody answers for. It is shown, and blocks no more until it expires."""

    model: str = key(TEXT, "which model")
    finding: str = key(TEXT, "the finding's name; its beginning covers undecided findings below it, never a failed one")
    reason: str = key(TEXT, "why it is accepted")
    by: str = key(TEXT, "who answers for it")
    expires: dt.date = key(  # noqa: RUF009 - as above
        DATE, "the first day on which it no longer counts"
    )
