"""What the answers of one bundle are counted by: who was scored, where scores lie, what the inputs lacked."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from model_registry.columns import MISSING_CATEGORY
from model_registry.readings import Reading
from model_registry.schema import Status
from services.core.metrics import MISSING, ROWS, SCORES, WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from prometheus_client import Counter

    from model_registry.columns import Columns, Score, Scores
    from model_registry.schema import Feature, Output, Schema

_DECILE_ENDS = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0]
"""The highest percentile of each decile but the last."""

NO_BAND = "none"
"""Of a score below the lowest band."""


class ScoreMetrics:
    """Made when a bundle is loaded, so that a call looks no label up and what usually comes stands at 0 before it.

    A customer counts the same alone (`count_one`) and in a table (`count`).
    """

    def __init__(self, model: str, schema: Schema) -> None:
        self._rows = {status: ROWS.labels(model, status.name.lower()) for status in Status}
        self._places = [_Places(model, output) for output in schema.outputs if output.reference or output.bands]
        self._missing_numbers = _missing(model, schema.numeric)
        self._missing_texts = _missing(model, schema.categorical)
        self._warnings = cache(lambda feature, kind: WARNINGS.labels(model, feature, kind))
        for feature in schema.features:
            self._warnings(feature.name, "out_of_range" if feature.kind == "numeric" else "unseen_category")

    def count_one(self, columns: Columns, score: Score) -> None:
        """`columns` holds the customer alone."""
        self._rows[score.status].inc()
        if score.status == Status.OK:
            for places in self._places:
                places.count_one(score)
        for kind, feature in score.warnings:
            self._warnings(feature, kind).inc()
        numbers = columns.numeric[0].tolist()
        # Cheaper than looking at each: none is infinite, so that their sum is a number unless one of them is missing.
        if math.isnan(sum(numbers)):
            _add(self._missing_numbers, [math.isnan(number) for number in numbers])
        if self._missing_texts:
            _add(self._missing_texts, [text == MISSING_CATEGORY for text in columns.categorical[0].tolist()])

    def count(self, columns: Columns, scores: Scores) -> None:
        _add(self._rows.items(), np.bincount(scores.statuses, minlength=max(Status) + 1).tolist())
        scored = scores.statuses == Status.OK
        for places in self._places:
            places.count(scores, scored)
        for warning in scores.warnings:
            self._warnings(warning.feature, warning.kind).inc(len(warning.rows))
        if self._missing_numbers:
            _add(self._missing_numbers, np.isnan(columns.numeric).sum(axis=0).tolist())
        if self._missing_texts:
            _add(self._missing_texts, (columns.categorical == MISSING_CATEGORY).sum(axis=0).tolist())


class _Places:
    """Where the scores of one output lie: in which tenth of its reference, in which of its bands.

    One counter for both: a second one would cost a call for a single customer half a percent more.
    """

    def __init__(self, model: str, output: Output) -> None:
        self._name = output.name
        deciles = [str(decile) for decile in range(1, len(_DECILE_ENDS) + 2)] if output.reference else [""]
        # Below the lowest band is -1, which is the last.
        bands = [*(band.name for band in output.bands), NO_BAND] if output.bands else [""]
        self._ends = _DECILE_ENDS if output.reference else []
        # In the precision of the percentiles, whose conversion would cost more than the search.
        self._ends_of_table = np.array(self._ends, np.float32)
        self._width = len(bands)
        self._counter = cache(lambda decile, band: SCORES.labels(model, output.name, deciles[decile], bands[band]))
        self._expect(output)

    def _expect(self, output: Output) -> None:
        """Makes the counters of scores like those of the reference base, and of every band."""
        values = np.array([*output.reference, *(band.threshold for band in output.bands)], np.float32)
        _, percentiles, bands = Reading(output).read(values, np.zeros(len(values), np.bool_))
        for decile, band in zip(self._deciles(percentiles).tolist(), bands.tolist(), strict=True):
            self._counter(decile, band)

    def count_one(self, score: Score) -> None:
        self._counter(bisect_left(self._ends, score.percentiles[self._name]), score.bands[self._name]).inc()

    def count(self, scores: Scores, scored: NDArray[np.bool_]) -> None:
        deciles = self._deciles(scores.percentiles[self._name][scored])
        # Decile and band as one number; below the lowest band, -1 becomes 0.
        counts = np.bincount(deciles * self._width + scores.bands[self._name][scored] + 1).tolist()
        for place, count in enumerate(counts):
            if count:
                decile, above = divmod(place, self._width)
                self._counter(decile, above - 1).inc(count)

    def _deciles(self, percentiles: NDArray[np.float32]) -> NDArray[np.intp]:
        return np.searchsorted(self._ends_of_table, percentiles)


def _missing(model: str, features: tuple[Feature, ...]) -> list[tuple[int, Counter]]:
    """Of the features that may be missing, with their places; without one of the others nobody is scored."""
    return [(at, MISSING.labels(model, feature.name)) for at, feature in enumerate(features) if feature.nullable]


def _add(counters: Iterable[tuple[int, Counter]], counts: list[int]) -> None:
    """Adds to each counter the count at its place."""
    for at, counter in counters:
        if counts[at]:
            counter.inc(counts[at])
