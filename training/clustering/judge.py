"""The judgement of a segmentation: against the rule of marketers, against the champion, and by what followed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from model_registry.evidence import Comparison, Interval, Requirement
from training.clustering.choice import SMALLEST, STABLE, Silhouettes
from training.clustering.fifths import SCORES
from training.clustering.model import CLUSTER, DISTANCE
from training.clustering.page import PAGE_FILE, RECORD_FILE, personas_page, record
from training.clustering.plots import illustrate
from training.clustering.portraits import REVENUE, last_snapshot, portray
from training.core.evaluate import COVERED_PERCENT, Bootstrap
from training.core.grade import grade
from training.core.pipeline import Judgement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from training.clustering.lineage import Reign
    from training.clustering.pipeline import Segmentation
    from training.core.dataset import Dataset, Rows
    from training.core.evaluate import Sample
    from training.core.pipeline import Scores

DECIDING = "silhouette"
"""The metric that comparisons are decided by."""

ROUNDING = 1e-12
"""Of the squares, a variance below which it is none but that of the last bits."""

CHAMPION = "champion"
RFM = "RFM total"

LEAST = {"stability": STABLE, "smallest_share": SMALLEST, "kept_ids": 0.85}
"""What promotion requires. Where the customers themselves have changed, fewer may keep their ids for good reasons; but
campaigns are built on ids, so somebody has to answer for it: the gate can be overridden."""

MEANINGS = {
    "silhouette": "Silhouette: how much nearer customers are to their own segment than to the next one, from -1 to 1",
    "stability": "Stability: adjusted Rand index of refits on resampled customers with the model; 1 is the same "
    "segments, 0 is chance; the interval holds 95 % of the refits",
    "smallest_share": "Smallest segment: its share of the customers",
    "kept_ids": "Kept ids: share of the customers who keep the champion's segment on the same day",
    "unusual_share": "Unusual: share of the customers further from their segment's centre than 99 % were in training",
    "explained_revenue": "Explained revenue: share of the variance of the next horizon's revenue, in logarithms, that "
    "lies between segments",
}

LIMITS = (
    "Segments describe. That one spends more than another does not say that moving a customer would make them spend.",
    "Customers are a continuum: near a border, the runner-up describes a customer as well as the segment does.",
    "Recency, orders and money are all that is looked at: what is bought, and why, may differ within a segment.",
    "The intervals say how much customers vary. One test part cannot say how much seasons, prices or rivals do.",
    "No sensitive attribute is an input; whether groups are spread evenly is for the fairness audit to say.",
)


def judge_segments(dataset: Dataset, fitted: Segmentation, scores: Scores, reign: Reign | None) -> Judgement:
    """Metrics with intervals, paired differences, plots and pages for the graph's scores of the test part.

    Champion and baseline are measured in this model's space. Moves are told from the last training snapshot.
    """
    jury = Jury(dataset.test, fitted)
    k = len(fitted.model.ids)
    model = jury.figures(scores[CLUSTER], fitted.model.ids)
    rivals = {RFM: jury.figures(rfm_groups(scores, k), range(k))}
    metrics = {
        DECIDING: model[DECIDING].interval(),
        "stability": _spread(fitted.chosen.agreements),
        "smallest_share": model["smallest_share"].interval(),
    }
    if reign:
        rivals[CHAMPION] = jury.figures(reign.ids, reign.names)
        metrics["kept_ids"] = jury.share(scores[CLUSTER] == reign.ids)
    metrics["unusual_share"] = jury.share(scores[DISTANCE] >= np.float32(fitted.unusual_from))
    metrics["explained_revenue"] = model["explained_revenue"].interval()
    comparisons = {
        name: Comparison(name, DECIDING, model[DECIDING].minus(rival[DECIDING]).interval())
        for name, rival in rivals.items()
    }
    requirements = tuple(
        Requirement(name, metrics[name].estimate, low=least) for name, least in LEAST.items() if name in metrics
    )
    gallery = portray(fitted.model, fitted.personas, dataset.train.at(last_snapshot(dataset.train)), dataset.test)
    return Judgement(
        metrics=metrics,
        others={name: {metric: one.interval() for metric, one in rival.items()} for name, rival in rivals.items()},
        baselines=(comparisons[RFM],),
        champion=comparisons.get(CHAMPION),
        illustrations=illustrate(fitted.tried, fitted.chosen, gallery),
        meanings=MEANINGS,
        limits=LIMITS,
        requirements=requirements,
        grade=grade(DECIDING, metrics[DECIDING], (comparisons[RFM],), requirements),
        documents={
            PAGE_FILE: personas_page(
                gallery, fitted.story, horizon_days=dataset.horizon_days, currency=fitted.currency
            ),
            RECORD_FILE: json.dumps(record(fitted, gallery), indent=1),
        },
    )


class Jury:
    """Judges segmentations of one test part in one space, on the same resamples."""

    def __init__(self, test: Rows, fitted: Segmentation) -> None:
        self._revenue = np.log1p(test.labels[REVENUE].astype(np.float64))
        self._everybody = Bootstrap(self._revenue)
        self._silhouettes = Silhouettes.of(fitted.model.space.coordinates(test.columns.numeric))
        self._looked_at = Bootstrap(self._revenue[self._silhouettes.rows])

    def figures(self, segments: NDArray[np.float32] | NDArray[np.intp], numbers: Iterable[int]) -> dict[str, Sample]:
        """Of segments (N,) that have these numbers; one may be empty."""
        known = np.array(sorted(numbers))
        places = np.searchsorted(known, segments)
        members = np.eye(len(known))[places]
        silhouettes = self._silhouettes.of_segments(places)
        apart = self._looked_at.sample(lambda weights: {DECIDING: weights @ silhouettes / weights.sum(axis=1)})
        return apart | self._everybody.sample(
            lambda weights: {
                "smallest_share": (weights @ members).min(axis=1) / weights.sum(axis=1),
                "explained_revenue": explained(self._revenue, members, weights),
            }
        )

    def share(self, inside: NDArray[np.bool_]) -> Interval:
        """How many of the customers are `inside` (N,)."""
        hits = inside.astype(np.float64)
        sampled = self._everybody.sample(lambda weights: {"share": weights @ hits / weights.sum(axis=1)})
        return sampled["share"].interval()


def explained(
    values: NDArray[np.float64], members: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The share of the variance of values (N,) that lies between segments (R,); `members` (N, k) are ones and zeros.

    Zero where all values are one.
    """
    total = weights.sum(axis=1)
    sizes, sums = weights @ members, (weights * values) @ members
    mean_part = sums.sum(axis=1) ** 2 / total
    between = (sums**2 / np.maximum(sizes, 1.0)).sum(axis=1) - mean_part
    squares = weights @ values**2
    variance = squares - mean_part
    varies = variance > ROUNDING * squares
    shares: NDArray[np.float64] = np.divide(between, variance, out=np.zeros_like(total), where=varies)
    return shares


def rfm_groups(scores: Scores, k: int) -> NDArray[np.intp]:
    """What marketers do by hand: the sum of the three fifths, cut into k groups as equal as ties allow (N,)."""
    total = sum(scores[name] for name in SCORES)
    _, places, counts = np.unique(total, return_inverse=True, return_counts=True)
    middles = (np.cumsum(counts) - counts / 2.0) / len(places)
    groups: NDArray[np.intp] = (k * middles).astype(np.intp)[places]
    return groups


def _spread(agreements: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(agreements, COVERED_PERCENT)
    return Interval(float(agreements.mean()), float(low), float(high))
