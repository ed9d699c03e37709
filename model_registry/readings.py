"""What a servable says beside the graph's bare values: who is scored, percentile and band, what training never saw.

Each reading comes twice: over arrays for tables, and in plain Python for a single customer, where the arrays' own
cost would be several times that of the graph. Both give the same bits.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

import numpy as np

from model_registry.columns import MISSING_CATEGORY, Columns, ColumnWarning
from model_registry.schema import Output, Schema, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model_registry.columns import WarningKind


class ScoringError(Exception):
    """The graph failed or returned a score that is not finite. Its text names no customer and no value."""


class Population:
    """Decides who is scored. The first rule that a customer breaks decides; a missing value breaks its rule."""

    def __init__(self, schema: Schema) -> None:
        positions = {feature.name: at for at, feature in enumerate(schema.numeric)}
        self._rules = [
            (positions[rule.feature], _float32(rule.minimum, -math.inf), _float32(rule.maximum, math.inf), rule.status)
            for rule in schema.population
        ]

    def statuses(self, columns: Columns) -> NDArray[np.uint8]:
        statuses = np.full(len(columns), Status.OK, np.uint8)
        for position, low, high, status in reversed(self._rules):
            values = columns.numeric[:, position]
            statuses[~((values >= low) & (values <= high))] = status
        return statuses

    def status(self, numbers: Sequence[float]) -> Status:
        for position, low, high, status in self._rules:
            if not low <= numbers[position] <= high:
                return status
        return Status.OK


class Ranges:
    """Warns of values that training never saw, in the order of kinds and names."""

    def __init__(self, schema: Schema) -> None:
        self._names = [feature.name for feature in schema.numeric]
        self._low = [_float32(feature.minimum, -math.inf) for feature in schema.numeric]
        self._high = [_float32(feature.maximum, math.inf) for feature in schema.numeric]
        self._lows = np.array(self._low, np.float32)
        self._highs = np.array(self._high, np.float32)
        self._vocabularies = [
            (feature.name, frozenset((*feature.vocabulary, MISSING_CATEGORY))) for feature in schema.categorical
        ]

    def warnings(self, columns: Columns) -> tuple[ColumnWarning, ...]:
        found = []
        outside = (columns.numeric < self._lows) | (columns.numeric > self._highs)
        if outside.any():
            found = [
                ColumnWarning("out_of_range", self._names[column], np.flatnonzero(outside[:, column]))
                for column in np.flatnonzero(outside.any(axis=0))
            ]
        for position, (name, vocabulary) in enumerate(self._vocabularies):
            values = columns.categorical[:, position].tolist()
            if not vocabulary.issuperset(values):
                rows = np.array([row for row, value in enumerate(values) if value not in vocabulary], np.intp)
                found.append(ColumnWarning("unseen_category", name, rows))
        return tuple(sorted(found, key=lambda warning: (warning.kind, warning.feature)))

    def warnings_of_one(
        self, numbers: Sequence[float], texts: NDArray[np.object_]
    ) -> tuple[tuple[WarningKind, str], ...]:
        found: list[tuple[WarningKind, str]] = [
            ("out_of_range", name)
            for name, value, low, high in zip(self._names, numbers, self._low, self._high, strict=True)
            if value < low or value > high
        ]
        found += [
            ("unseen_category", name)
            for (name, vocabulary), text in zip(self._vocabularies, texts, strict=True)
            if text not in vocabulary
        ]
        return tuple(sorted(found))


class Reading:
    """Reads percentile and band off an output's values.

    The percentile is the share of the reference's quantiles that lie below the value, so it moves in steps of one
    quantile. An output without a reference has NaN.
    """

    def __init__(self, output: Output) -> None:
        self.name = output.name
        # In the precision of what is compared with them.
        self._references = np.array(output.reference, np.float32)
        self._reference = self._references.tolist()
        self._percents = _percents(len(self._reference))
        self._thresholds = np.array([band.threshold for band in output.bands], np.float32)
        self._threshold = self._thresholds.tolist()

    def read(
        self, raw: NDArray[np.float32], outside: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int8]]:
        """Values, percentiles and bands; NaN, NaN and -1 where `outside`.

        Raises:
            ScoringError: a value inside is not finite.
        """
        if not (np.isfinite(raw) | outside).all():
            raise self._not_finite()
        ranks = np.searchsorted(self._references, raw)
        percentiles = self._percents[ranks]
        bands = (np.searchsorted(self._thresholds, raw, side="right") - 1).astype(np.int8)
        if not outside.any():
            return raw, percentiles, bands
        percentiles[outside] = np.nan
        bands[outside] = -1
        return np.where(outside, np.float32(np.nan), raw), percentiles, bands

    def read_one(self, raw: float) -> tuple[float, float, int]:
        """Value, percentile and band.

        Raises:
            ScoringError: the value is not finite.
        """
        if not math.isfinite(raw):
            raise self._not_finite()
        percentile: float = self._percents.item(bisect_left(self._reference, raw))
        return raw, percentile, bisect_right(self._threshold, raw) - 1

    def _not_finite(self) -> ScoringError:
        return ScoringError(f"output {self.name} is not finite for a customer of the population")


def _percents(quantiles: int) -> NDArray[np.float32]:
    """The percentile of every rank among the quantiles; above the highest it stays at 100."""
    if not quantiles:
        return np.array([np.nan], np.float32)
    ranks = np.arange(quantiles + 1)
    percents: NDArray[np.float32] = np.minimum(ranks * (100.0 / (quantiles - 1)), 100.0).astype(np.float32)
    return percents


def _float32(limit: float | None, default: float) -> float:
    return default if limit is None else float(np.float32(limit))
