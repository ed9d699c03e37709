"""One word for a model's quality, by a rule that is the same for every model.

| grade | rule |
|---|---|
| poor | a simple rule is not beaten (or, where a margin is allowed, not matched), or a requirement fails |
| fair | neither, but the strength stays below `good` |
| good | the strength reaches `good` |
| excellent | the strength reaches `excellent` |

The strength is the metric that the model is decided by, at the lower end of its interval: luck earns no grade.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_registry.evidence import Comparison, Interval, Requirement

POOR, FAIR, GOOD, EXCELLENT = GRADES = ("poor", "fair", "good", "excellent")


@dataclass(frozen=True)
class Scale:
    """What a metric must reach to be called good and excellent."""

    good: float
    excellent: float


SCALES = {"auc": Scale(0.75, 0.85), "gini": Scale(0.6, 0.8), "silhouette": Scale(0.25, 0.5)}
"""By deciding metric. An AUC of .75 puts three of four pairs in order; .85 is what months of baskets allow. At a
silhouette of .25 Kaufman and Rousseeuw, "Finding groups in data" (1990), begin to see structure; at .5 it is clear."""


def grade(
    metric: str, strength: Interval, baselines: Iterable[Comparison], requirements: Iterable[Requirement] = ()
) -> str:
    """The word for a model that is decided by `metric`."""
    gates: tuple[Comparison | Requirement, ...] = (*baselines, *requirements)
    if not all(gate.passed for gate in gates):
        return POOR
    scale = SCALES[metric]
    if strength.low >= scale.excellent:
        return EXCELLENT
    return GOOD if strength.low >= scale.good else FAIR
