"""What comparing a shadow's answers with a server's own comes to, as metrics."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import grpc
import numpy as np

from model_registry.release import SHOWN_DIGITS
from services.core.metrics import (
    DIFFERENCE_BUCKETS,
    SHADOW_CALLS,
    SHADOW_CUSTOMERS,
    SHADOW_DIFFERENCE,
    SHADOW_DISAGREEMENTS,
    SHADOW_INFO,
    code_label,
    forget_info,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from prometheus_client import Histogram

    from regulars.scoring.v1.scoring_pb2 import ModelVersion
    from services.core.comparison import Comparer, Comparison

Outcome = Literal["compared", "incomparable", "failed", "dropped"]

SCORED_BY = ("neither", "own", "shadow", "both")
"""In the order of 1 for this server and 2 for the shadow, added up."""

MOST_VERSIONS = 100
"""Shown in the life of a process: their names are the shadow's to choose."""


class ShadowMetrics:
    """Used by one thread, but for `count_call`."""

    def __init__(self, model: str, comparer: Comparer) -> None:
        """What every bundle of the service answers with stands at 0; categories come with the first comparison."""
        self._model = model
        self._calls = cache(
            lambda method, outcome, code: SHADOW_CALLS.labels(model, method, outcome, code and code_label(code))
        )
        self._customers = [SHADOW_CUSTOMERS.labels(model, scored_by) for scored_by in SCORED_BY]
        self._disagreements = cache(lambda field: SHADOW_DISAGREEMENTS.labels(model, field))
        self._differences = cache(lambda field: SHADOW_DIFFERENCE.labels(model, field))
        self._shown: tuple[str, str] | None = None
        self._known: set[tuple[str, str]] = set()
        for method in comparer.methods:
            self._calls(method, "dropped", "")
            for code in grpc.StatusCode:
                for outcome in ("compared", "incomparable") if code is grpc.StatusCode.OK else ("failed",):
                    self._calls(method, outcome, code)
        for field in comparer.fields:
            self._disagreements(field)
        for field in comparer.numbers:
            self._differences(field)

    def count_call(self, method: str, outcome: Outcome, code: grpc.StatusCode | Literal[""] = "") -> None:
        self._calls(method, outcome, code).inc()

    def count(self, comparison: Comparison) -> None:
        scored = np.bincount(comparison.own + 2 * comparison.other, minlength=len(SCORED_BY))
        for counter, customers in zip(self._customers, scored.tolist(), strict=True):
            counter.inc(customers)
        for field, customers in comparison.disagreements.items():
            self._disagreements(field).inc(customers)
        for field, differences in comparison.differences.items():
            _observe(self._differences(field), differences)

    def show(self, version: ModelVersion) -> None:
        """Shows the version that answered instead of the one before."""
        labels = version.version, version.bundle_digest[:SHOWN_DIGITS]
        if labels == self._shown:
            return
        if self._shown is not None:
            forget_info(SHADOW_INFO, self._model, *self._shown)
            self._shown = None
        if len(self._known | {labels}) > MOST_VERSIONS:
            return
        SHADOW_INFO.labels(self._model, *labels).set(1)
        self._shown = labels
        self._known.add(labels)


def _observe(histogram: Histogram, values: NDArray[np.float64]) -> None:
    """`observe` for each of N values, (N,), whose cost the library has N times."""
    counts = np.bincount(np.searchsorted(DIFFERENCE_BUCKETS, values), minlength=len(DIFFERENCE_BUCKETS) + 1)
    histogram._sum.inc(values.sum())  # noqa: SLF001 - there is no other way; a test holds it to `observe`
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):  # noqa: SLF001
        if count:
            bucket.inc(count)
