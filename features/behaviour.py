"""What customers did before a moment: one row a customer, one column a feature."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import ibis
from ibis import _

from features.errors import TableError
from features.families import families
from features.history import days_since
from features.specs import FeatureSpec

if TYPE_CHECKING:
    import datetime as dt

    from features.specs import Feature
    from features.tables import CustomerTables

MEMBERSHIP = FeatureSpec("membership_days", "numeric", "days", "Since the customer signed up", ages=True)


def feature_specs(tables: CustomerTables) -> tuple[FeatureSpec, ...]:
    """The features these tables can tell, in the order of a snapshot's columns.

    Raises:
        TableError: an attribute has the name of a feature.
    """
    declared = [feature.spec for family in families(tables) for feature in family.available(tables)]
    specs = (*declared, *_attribute_specs(tables))
    # Engines do not tell names apart by case.
    counts = Counter(spec.name.lower() for spec in specs)
    for name in tables.attributes:
        if counts[name.lower()] > 1:
            problem = f"lists {name!r}, which is a feature's name"
            raise TableError("tables.customers.attributes", problem, "Rename that column")
    return specs


def behaviour(tables: CustomerTables, as_of: dt.date) -> ibis.Table:
    """Every customer with an order before `as_of`; without a time axis, every row of the customers table.

    Args:
        tables: the canonical tables; only rows with `time < as_of` are used.
        as_of: a date, whose midnight counts, or a naive datetime.

    Returns:
        `customer`, then the features of `feature_specs`: numeric ones float32, missing where undefined.
    """
    specs = feature_specs(tables)
    rows = None if tables.answered is None else tables.answered.select("customer")
    for family in families(tables):
        if features := family.available(tables):
            summary = _summary(family.rows(getattr(tables, family.table), as_of), features)
            rows = summary.filter(_.frequency > 0) if rows is None else _beside(rows, summary, features)
    return _typed(_with_attributes(rows, tables, as_of), specs)


def _summary(rows: ibis.Table, features: list[Feature]) -> ibis.Table:
    return rows.group_by("customer").aggregate(**{one.spec.name: one.aggregate for one in features})


def _beside(rows: ibis.Table, summary: ibis.Table, features: list[Feature]) -> ibis.Table:
    joined = rows.left_join(summary, "customer").drop("customer_right")
    counts = {one.spec.name: one.without_rows for one in features if one.without_rows is not None}
    return joined.fill_null(counts) if counts else joined


def _with_attributes(rows: ibis.Table, tables: CustomerTables, as_of: dt.date) -> ibis.Table:
    """Attributes hold whatever `as_of` is; a sign-up that was still to come is missing."""
    customers = tables.customers
    specs = _attribute_specs(tables)
    if customers is None or not specs:
        return rows
    if "signed_up" in customers.columns:
        days = days_since(customers.signed_up, as_of)
        customers = customers.mutate(membership_days=ibis.ifelse(days > 0, days, None))
    known = customers.select("customer", *(spec.name for spec in specs))
    return rows.left_join(known, "customer").drop("customer_right")


def _attribute_specs(tables: CustomerTables) -> tuple[FeatureSpec, ...]:
    if tables.customers is None:
        return ()
    attributes = tuple(
        FeatureSpec(
            name,
            "categorical" if tables.customers[name].type().is_string() else "numeric",
            "",
            "As the customers table has it, whatever the date",
        )
        for name in tables.attributes
    )
    return (MEMBERSHIP, *attributes) if "signed_up" in tables.customers.columns else attributes


def _typed(rows: ibis.Table, specs: tuple[FeatureSpec, ...]) -> ibis.Table:
    types = {"numeric": "float32", "categorical": "string"}
    return rows.select("customer", **{spec.name: rows[spec.name].try_cast(types[spec.kind]) for spec in specs})
