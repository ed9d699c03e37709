"""Random filters, and what they mean, in plain Python."""

from __future__ import annotations

import operator
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from services.batch.filters import All, AnyOf, Compare, Flag, Not, Percent, Top

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.batch.filters import Filter, Terms

Row = dict[str, Any]
"""A customer's scores by column. Numbers of float32 are `np.float32`."""

OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def filters(terms: Terms, numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Filter]:
    """Filters over the columns of `terms`, which compare with `numbers` and with the values that are known."""
    columns = {kind: [name for name in terms.kinds if terms.kinds[name] == kind] for kind in ("number", "text", "flag")}
    percents = st.decimals(Decimal("0.01"), 100, places=2).map(Percent)
    comparisons = st.builds(Compare, st.sampled_from(columns["number"]), st.sampled_from(sorted(OPERATORS)), numbers)
    texts = st.sampled_from(columns["text"]).flatmap(
        lambda name: st.builds(
            Compare,
            st.just(name),
            st.sampled_from(["=", "!="]),
            st.sampled_from(terms.values[name]) if name in terms.values else st.text(),
        )
    )
    conditions = st.one_of(
        comparisons,
        texts,
        st.builds(Flag, st.sampled_from(columns["flag"])),
        st.builds(Top, st.sampled_from(columns["number"]), percents),
    )

    def larger(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
        several = st.lists(parts, min_size=2, max_size=3).map(tuple)
        return st.one_of(st.builds(Not, parts), st.builds(All, several), st.builds(AnyOf, several))

    return st.recursive(conditions, larger, max_leaves=6)


def columns_of(of: Filter) -> set[str]:
    match of:
        case Not(part):
            return columns_of(part)
        case All(parts) | AnyOf(parts):
            return set[str]().union(*map(columns_of, parts))
        case _:
            return {of.column}


def holds(of: Filter, row: Row, everybody: Sequence[Row]) -> bool:
    """Whether a filter is true of a customer who has all that it asks for."""
    match of:
        case Not(part):
            return not holds(part, row, everybody)
        case All(parts):
            return all(holds(part, row, everybody) for part in parts)
        case AnyOf(parts):
            return any(holds(part, row, everybody) for part in parts)
        case Flag(column):
            return bool(row[column])
        case Compare(column, sign, value):
            known = row[column]
            with np.errstate(over="ignore"):
                return bool(OPERATORS[sign](known, np.float32(value) if isinstance(known, np.float32) else value))
        case Top(column, percent):
            others = [other[column] for other in everybody if other[column] is not None]
            higher = sum(bool(other > row[column]) for other in others)
            return higher < Fraction(percent.value) * len(others) / 100
