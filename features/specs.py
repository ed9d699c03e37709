"""A feature declared once: what it is called, what it means, and the aggregate that computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    import ibis

    from features.tables import CustomerTables


@dataclass(frozen=True)
class FeatureSpec:
    """What a model's input is: numeric features are float32, categorical ones text.

    A feature that is not `nullable` exists for every customer with an order; the others may be missing. One that
    `ages` rises with time for everybody, so a value above all that training saw says nothing. `category` is the one
    that the feature speaks of, if it speaks of one.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    unit: str
    description: str
    nullable: bool = True
    ages: bool = False
    category: str = ""


@dataclass(frozen=True)
class Feature:
    """A feature and the aggregate that computes it.

    Attributes:
        spec: what the feature is.
        aggregate: a deferred Ibis expression over the rows of one customer.
        needs: the column of the family's table without which there is no such feature.
        without_rows: the value for a customer who has no rows; None is missing.
    """

    spec: FeatureSpec
    aggregate: ibis.Deferred
    needs: str = "customer"
    without_rows: int | None = None


@dataclass(frozen=True)
class Family:
    """Features counted over the same rows, which `rows` gathers from the mapped table as of a moment."""

    table: Literal["transactions", "events", "subscriptions", "responses"]
    rows: Callable[[ibis.Table, dt.date], ibis.Table]
    features: tuple[Feature, ...]

    def available(self, tables: CustomerTables) -> list[Feature]:
        """The features whose table and column are mapped."""
        table = getattr(tables, self.table)
        return [] if table is None else [one for one in self.features if one.needs in table.columns]


def numeric(
    name: str,
    unit: str,
    description: str,
    aggregate: ibis.Deferred,
    *,
    needs: str = "customer",
    without_rows: int | None = None,
    always: bool = False,
    ages: bool = False,
) -> Feature:
    """Declare a number. `always`: every customer with an order has it; a number `without_rows` everybody has."""
    nullable = without_rows is None and not always
    return Feature(FeatureSpec(name, "numeric", unit, description, nullable, ages), aggregate, needs, without_rows)


def categorical(name: str, description: str, aggregate: ibis.Deferred, *, needs: str) -> Feature:
    """Declare a text."""
    return Feature(FeatureSpec(name, "categorical", "", description), aggregate, needs)
