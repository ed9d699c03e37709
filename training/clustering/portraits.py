"""What each segment is like, and what it did next: the figures of the test part that marketers act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_registry.evidence import Interval
from training.clustering.choice import overlaps
from training.clustering.fifths import SCORES
from training.clustering.space import FEATURES
from training.core.evaluate import Bootstrap
from training.core.plots import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.clustering.model import SegmentModel
    from training.clustering.names import Persona
    from training.core.dataset import Rows

PURCHASED = "purchased"
REVENUE = "revenue"
_UNKNOWN = Interval(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Portrait:
    """One segment of the test part, or everybody.

    `typical` are the medians of the features; `scores` the mean fifths of recency, frequency and monetary value.
    `value` is the revenue a customer brought in the horizon, `revenue_share` the segment's part of all of it, `silent`
    the share of customers without an order in it, with its Wilson interval.
    """

    customers: int
    share: float
    typical: tuple[float, ...]
    scores: tuple[float, ...]
    value: Interval
    revenue_share: float
    silent: Interval

    @classmethod
    def of(cls, rows: Rows, scores: NDArray[np.float64], inside: NDArray[np.bool_]) -> Portrait:
        """The customers of `rows` who are `inside` (N,); `scores` are (N, 3). Of nobody nothing is known."""
        revenue = rows.labels[REVENUE].astype(np.float64)
        count = int(inside.sum())
        if not count:
            return cls(0, 0.0, (np.nan,) * len(FEATURES), (np.nan,) * len(SCORES), _UNKNOWN, 0.0, _UNKNOWN)
        silent = 1.0 - rows.labels[PURCHASED][inside].mean(dtype=np.float64)
        low, high = wilson(np.array([silent]), np.array([count]))
        return cls(
            customers=count,
            share=count / len(rows),
            typical=tuple(np.median(rows.columns.numeric[inside], axis=0).tolist()),
            scores=tuple(scores[inside].mean(axis=0).tolist()),
            value=_mean(revenue[inside]),
            revenue_share=float(revenue[inside].sum() / max(revenue.sum(), np.finfo(float).tiny)),
            silent=Interval(float(silent), float(low[0]), float(high[0])),
        )


@dataclass(frozen=True)
class Migration:
    """Who went where between two snapshots under one model.

    `counts` are (k + 1, k): customers by their segment before and after, by place; the last row are the new ones.
    """

    before: str
    after: str
    counts: NDArray[np.intp]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of each row; 0 where there was nobody."""
        shares: NDArray[np.float64] = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        return shares

    @property
    def stayed(self) -> float:
        """The share of those there before who are where they were."""
        known = self.counts[:-1]
        return float(np.trace(known) / max(known.sum(), 1))


@dataclass(frozen=True)
class Gallery:
    """The segments by place, best first, beside everybody; `migration` comes from the training snapshot before."""

    ids: tuple[int, ...]
    personas: tuple[Persona, ...]
    portraits: tuple[Portrait, ...]
    everybody: Portrait
    migration: Migration

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(persona.name for persona in self.personas)


def portray(model: SegmentModel, personas: tuple[Persona, ...], before: Rows, after: Rows) -> Gallery:
    """The segments at two snapshots, of which the later one's outcomes are known."""
    segments = model.segments(after.columns.numeric)
    scores = model.fifths.scores(after.columns.numeric)
    return Gallery(
        model.ids,
        personas,
        tuple(Portrait.of(after, scores, segments == place) for place in range(len(model.ids))),
        Portrait.of(after, scores, np.full(len(after), fill_value=True)),
        migrate(model, before, after),
    )


def last_snapshot(rows: Rows) -> NDArray[np.bool_]:
    """The rows (N,) of the last date: everybody once, as they are now."""
    return np.asarray(rows.dates == rows.dates.max())


def migrate(model: SegmentModel, before: Rows, after: Rows) -> Migration:
    """Who went where. Who is not there any more, having taken back consent, is left out."""
    k = len(model.ids)
    known = dict(zip(before.customer_ids, model.segments(before.columns.numeric).tolist(), strict=True))
    came_from = np.array([known.get(identity, k) for identity in after.customer_ids], np.intp)
    counts = overlaps(came_from, model.segments(after.columns.numeric), (k + 1, k))
    return Migration(str(before.dates[0]), str(after.dates[0]), counts)


def _mean(values: NDArray[np.float64]) -> Interval:
    sampled = Bootstrap(values).sample(lambda weights: {REVENUE: weights @ values / weights.sum(axis=1)})
    return sampled[REVENUE].interval()
