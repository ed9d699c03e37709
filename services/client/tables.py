"""Customers as messages: rows from mappings, tables from columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regulars.scoring.v1 import scoring_pb2
from services.wire import fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike


def customer(identifier: str, features: Mapping[str, float | str | None]) -> scoring_pb2.Customer:
    """One customer. Text features are categorical, numbers numeric, None is missing."""
    return scoring_pb2.Customer(
        id=identifier,
        numeric={name: value for name, value in features.items() if value is not None and not isinstance(value, str)},
        categorical={name: value for name, value in features.items() if isinstance(value, str)},
    )


def customer_table(
    ids: Sequence[str], numeric: Mapping[str, ArrayLike], categorical: Mapping[str, Iterable[str | float | None]]
) -> scoring_pb2.CustomerTable:
    """Many customers: every column has one value an id, NaN or None where missing, in texts too."""
    return scoring_pb2.CustomerTable(
        ids=ids,
        numeric=[_pack_numbers(name, values) for name, values in numeric.items()],
        categorical=[encode_dictionary(name, values) for name, values in categorical.items()],
    )


def _pack_numbers(name: str, values: ArrayLike) -> scoring_pb2.NumericColumn:
    column = scoring_pb2.NumericColumn(name=name)
    fill(column, {"values": np.asarray(values, np.float32)})
    return column


def encode_dictionary(name: str, values: Iterable[str | float | None]) -> scoring_pb2.CategoricalColumn:
    places: dict[str, int] = {}
    codes = [places.setdefault(value, len(places)) if isinstance(value, str) else _missing(value) for value in values]
    return scoring_pb2.CategoricalColumn(name=name, dictionary=places, codes=codes)


def _missing(value: float | None) -> int:
    """The code of a missing text, which data frames spell NaN."""
    if value is None or np.isnan(value):
        return -1
    raise TypeError(f"a category is text, is {type(value).__name__}")
