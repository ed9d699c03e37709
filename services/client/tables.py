"""Customers as messages: rows from mappings, tables from columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regulars.scoring.v1 import scoring_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike


def customer(identifier: str, features: Mapping[str, float | str | None]) -> scoring_pb2.Customer:
    """One customer. Text features are categorical, numbers numeric, None is missing."""
    return scoring_pb2.Customer(
        id=identifier,
        numeric={name: value for name, value in features.items() if value is not None and not isinstance(value, str)},
        categorical={name: value for name, value in features.items() if isinstance(value, str)},
    )


def customer_table(
    ids: Sequence[str], numeric: Mapping[str, ArrayLike], categorical: Mapping[str, Sequence[str | None]]
) -> scoring_pb2.CustomerTable:
    """Many customers: every column has one value an id, NaN or None where missing."""
    return scoring_pb2.CustomerTable(
        ids=ids,
        numeric=[
            scoring_pb2.NumericColumn(name=name, values=np.asarray(values, np.float32).tolist())
            for name, values in numeric.items()
        ],
        categorical=[_encode_dictionary(name, values) for name, values in categorical.items()],
    )


def _encode_dictionary(name: str, values: Sequence[str | None]) -> scoring_pb2.CategoricalColumn:
    codes: dict[str | None, int] = {None: -1}
    dictionary: list[str] = []
    for value in values:
        if value is not None and value not in codes:
            codes[value] = len(dictionary)
            dictionary.append(value)
    return scoring_pb2.CategoricalColumn(name=name, dictionary=dictionary, codes=[codes[value] for value in values])
