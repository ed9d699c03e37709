"""Where protobuf meets columns: customers are checked by name against the served model's schema.

Violations name the path in the request and what is wrong, never the value.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import numpy as np

from model_registry.columns import MISSING_CATEGORY, Columns
from regulars.scoring.v1 import scoring_pb2
from services.core.errors import INVALID, Refusal, Violation
from services.core.violations import MOST_COLUMNS, Requirements, listed, quote
from services.wire import payloads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from model_registry.schema import Feature, Schema

_NAN = float("nan")

_FLOAT = np.dtype("<f4")
"""On the wire."""


class Codec:
    """Decodes customers for one schema."""

    def __init__(self, schema: Schema, max_rows: int) -> None:
        self._numeric = [feature.name for feature in schema.numeric]
        self._categorical = [feature.name for feature in schema.categorical]
        self._numeric_heads = [scoring_pb2.NumericColumn(name=name).SerializeToString() for name in self._numeric]
        self._numeric_names = frozenset(self._numeric)
        self._categorical_names = frozenset(self._categorical)
        self._requirements = Requirements(schema)
        self._places = {name: place for names in (self._numeric, self._categorical) for place, name in enumerate(names)}
        self._required_features = [feature for feature in schema.features if not feature.nullable]
        self._features: dict[str, Feature] = {feature.name: feature for feature in schema.features}
        self._max_rows = max_rows

    def decode_customer(self, customer: scoring_pb2.Customer) -> Columns:
        """One row.

        Raises:
            Refusal: INVALID, with every violation.
        """
        given, texts = customer.numeric, customer.categorical
        # The conversion to float32, without numpy's cost for a single row; what is too large becomes infinite.
        numbers = array("f", [given.get(name, _NAN) for name in self._numeric])
        numeric = np.frombuffer(numbers, np.float32).reshape(1, -1)
        categories = [texts.get(name, MISSING_CATEGORY) for name in self._categorical]
        columns = Columns(numeric, np.array(categories, object).reshape(1, -1))
        # A sum is finite only if nothing is missing and nothing infinite. With the right number of names, every name
        # is then the right one.
        complete = (
            customer.id
            and len(given) == len(self._numeric)
            and len(texts) == len(categories)
            and MISSING_CATEGORY not in categories
            and math.isfinite(sum(numbers))
        )
        if not complete:
            self._check_customer(customer, columns)
        return columns

    def _check_customer(self, customer: scoring_pb2.Customer, columns: Columns) -> None:
        given, texts = customer.numeric, customer.categorical
        if len(given) + len(texts) > MOST_COLUMNS:
            raise Refusal(INVALID, [Violation("customer", f"must hold at most {MOST_COLUMNS} features")])
        violations = [] if customer.id else [Violation("customer.id", "must not be empty")]
        if not (self._numeric_names.issuperset(given) and self._categorical_names.issuperset(texts)):
            violations += self._misnamed("customer", given, texts)
        violations += self._requirements.unmet(columns, lambda name, _: self._path("customer", name))
        if violations:
            raise Refusal(INVALID, violations)

    def decode_table(self, table: scoring_pb2.CustomerTable) -> Columns:
        """One row a customer, in the order of the ids.

        Raises:
            Refusal: INVALID, with every violation.
        """
        if len(table.numeric) + len(table.categorical) > MOST_COLUMNS:
            raise Refusal(INVALID, [Violation("customers", f"must hold at most {MOST_COLUMNS} columns")])
        ids = list(table.ids)
        packed = self._packed(table.numeric, len(ids))
        if packed is None:
            numbers = [(column.name, np.asarray(column.values)) for column in table.numeric]
        else:
            numbers = list(zip(self._numeric, packed, strict=True))
        texts = [(column.name, column.dictionary, np.asarray(column.codes, np.int32)) for column in table.categorical]
        violations = self._check_ids(ids)
        violations += self._check_names([name for name, _ in numbers], [name for name, _, _ in texts])
        violations += _check_lengths(numbers, texts, len(ids))
        if violations:
            raise Refusal(INVALID, violations)
        numeric = self._placed(numbers, len(ids)) if packed is None else np.ascontiguousarray(packed.T, np.float32)
        categorical = np.full((len(ids), len(self._categorical)), MISSING_CATEGORY, object)
        for name, dictionary, codes in texts:
            # Code -1 takes the last entry.
            categorical[:, self._places[name]] = np.array([*dictionary, MISSING_CATEGORY], object)[codes]
        columns = Columns(numeric, categorical)
        violations = self._requirements.unmet(columns, lambda name, row: f"{self._path('customers', name)}[{row}]")
        if violations:
            raise Refusal(INVALID, violations)
        return columns

    def _packed(self, columns: Sequence[scoring_pb2.NumericColumn], rows: int) -> NDArray[np.float32] | None:
        """The numbers of a table (numeric features, rows) that has all of them in the order of the schema.

        Their bytes as they came: an array for each column costs more than all the rest of decoding.
        """
        if len(columns) != len(self._numeric):
            return None
        values = payloads(columns, "values", rows * _FLOAT.itemsize, self._numeric_heads)
        return None if values is None else np.frombuffer(values, _FLOAT).reshape(len(columns), rows)

    def _placed(self, numbers: Sequence[tuple[str, NDArray[np.float32]]], rows: int) -> NDArray[np.float32]:
        """The numbers (rows, numeric features) by their names, NaN where a column is missing."""
        numeric = np.full((rows, len(self._numeric)), np.nan, np.float32)
        for name, values in numbers:
            numeric[:, self._places[name]] = values
        return numeric

    def _check_ids(self, ids: Sequence[str]) -> list[Violation]:
        if not ids:
            return [Violation("customers.ids", "must not be empty")]
        if len(ids) > self._max_rows:
            return [Violation("customers.ids", f"must hold at most {self._max_rows} customers; split the table")]
        distinct = set(ids)
        if len(distinct) == len(ids) and "" not in distinct:
            return []
        violations = []
        seen: set[str] = set()
        for row, identifier in enumerate(ids):
            if not identifier:
                violations.append(Violation(f"customers.ids[{row}]", "must not be empty"))
            elif identifier in seen:
                violations.append(Violation(f"customers.ids[{row}]", "stands earlier in this table"))
            seen.add(identifier)
        return violations

    def _check_names(self, numeric: list[str], categorical: list[str]) -> list[Violation]:
        if numeric == self._numeric and categorical == self._categorical:
            return []
        named = {*numeric, *categorical}
        violations = [
            Violation(self._path("customers", feature.name), "is required")
            for feature in self._required_features
            if feature.name not in named
        ]
        for kind, names in (("numeric", numeric), ("categorical", categorical)):
            seen: set[str] = set()
            for position, name in enumerate(names):
                path = f"customers.{kind}[{position}].name"
                violations += self._check_name(path, name, kind, named=True)
                if name in seen:
                    violations.append(Violation(path, f"{quote(name)} stands earlier in this table"))
                seen.add(name)
        return violations

    def _misnamed(self, path: str, numeric: Iterable[str], categorical: Iterable[str]) -> list[Violation]:
        return [
            violation
            for kind, names in (("numeric", numeric), ("categorical", categorical))
            for name in sorted(names)
            for violation in self._check_name(f"{path}.{kind}[{quote(name)}]", name, kind, named=False)
        ]

    def _check_name(self, path: str, name: str, kind: str, *, named: bool) -> list[Violation]:
        feature = self._features.get(name)
        subject = f"{quote(name)} is" if named else "is"
        if feature is None:
            return [Violation(path, f"{subject} not a feature of this model")]
        if feature.kind != kind:
            return [Violation(path, f"{subject} {feature.kind}; give it as {feature.kind}")]
        return []

    def _path(self, customers: str, name: str) -> str:
        return f'{customers}.{self._features[name].kind}["{name}"]'


def _check_lengths(
    numbers: Sequence[tuple[str, NDArray[np.float32]]],
    texts: Sequence[tuple[str, Sequence[str], NDArray[np.int32]]],
    rows: int,
) -> list[Violation]:
    violations = []
    for position, (_, values) in enumerate(numbers):
        if len(values) != rows:
            violations.append(_wrong_length(f"customers.numeric[{position}].values", len(values), rows))
    for position, (_, dictionary, codes) in enumerate(texts):
        path = f"customers.categorical[{position}].codes"
        if len(codes) != rows:
            violations.append(_wrong_length(path, len(codes), rows))
        else:
            violations += _check_codes(path, codes, len(dictionary))
    return violations


def _wrong_length(path: str, length: int, rows: int) -> Violation:
    return Violation(path, f"must hold one value a customer: {rows}, holds {length}")


def _check_codes(path: str, codes: NDArray[np.int32], entries: int) -> list[Violation]:
    wrong = np.flatnonzero((codes < -1) | (codes >= entries))
    return listed(wrong, lambda row: Violation(f"{path}[{row}]", "must be an index into the dictionary, or -1"))
