"""What is wrong with a request, as every codec says it: by a path, without the value, and at bounded length."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from model_registry.columns import MISSING_CATEGORY
from services.core.errors import MAX_VIOLATIONS, Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from model_registry.columns import Columns
    from model_registry.schema import Schema

MOST_COLUMNS = 1000
"""No model has as many features. Naming more, one by one, would only hold a thread."""

_LONGEST_NAME = 64
"""A name of the caller's longer than this is cut in a violation."""

_UNLISTED = Violation("", "")
"""Stands for a violation that is counted and not listed."""


class Requirements:
    """What the values of a schema's features must be: finite, and there unless the feature is nullable."""

    def __init__(self, schema: Schema) -> None:
        self._numeric = [feature.name for feature in schema.numeric]
        self._required = np.array([not feature.nullable for feature in schema.numeric], np.bool_)
        self._required_categories = [
            (position, feature.name) for position, feature in enumerate(schema.categorical) if not feature.nullable
        ]

    def unmet(self, columns: Columns, place: Callable[[str, int], str]) -> list[Violation]:
        """A violation for each value that is not so; `place` is the path of a feature's value in a row."""
        violations = []
        if not np.isfinite(columns.numeric).all():
            infinite = np.isinf(columns.numeric)
            missing = np.isnan(columns.numeric) & self._required

            def unusable(where: NDArray[np.intp]) -> Violation:
                row, position = where.tolist()
                what = "is infinite or beyond float32" if infinite[row, position] else "is required"
                return Violation(place(self._numeric[position], row), what)

            violations += listed(np.argwhere(infinite | missing), unusable)
        for position, name in self._required_categories:
            absent = np.flatnonzero(columns.categorical[:, position] == MISSING_CATEGORY)
            violations += listed(absent, partial(_required, place, name))
        return violations


def _required(place: Callable[[str, int], str], name: str, row: int) -> Violation:
    return Violation(place(name, row), "is required")


def listed(places: NDArray[Any], describe: Callable[[Any], Violation]) -> list[Violation]:
    """One violation a place. Beyond what an answer lists they are all one object: a bad table may hold millions."""
    described = [describe(place) for place in places[:MAX_VIOLATIONS]]
    return described + [_UNLISTED] * (len(places) - len(described))


def quote(name: str) -> str:
    """A name of the caller's, in quotation marks."""
    # Cut after escaping, which makes up to twelve characters of one.
    escaped = json.dumps(name[: _LONGEST_NAME + 1])[1:-1]
    return f'"{escaped}"' if len(escaped) <= _LONGEST_NAME else f'"{escaped[:_LONGEST_NAME]}…"'
