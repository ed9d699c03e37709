"""How good scores are, and how sure that is.

Every metric is computed for many weightings of the same customers at once: weights of one give the estimate, and
weights that count how often a customer was drawn give a bootstrap resample. Scorers that are judged by the same
`Bootstrap` meet the same resamples, so their differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from model_registry.evidence import Interval
from training.core.platt import fit_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 20_170_101
CELLS = 4_000_000
"""Weights held at once (R x N): 32 MB of doubles."""

COVERED_PERCENT = (2.5, 97.5)
TOP_SHARE = 0.1
CERTAIN = 1e-6
"""Probabilities are kept this far from 0 and 1 before a logarithm."""

LOWER_IS_BETTER = frozenset({"brier", "log_loss"})


@dataclass(frozen=True)
class Sample:
    """A metric's estimate and its values on the bootstrap resamples (R,)."""

    estimate: float
    resampled: NDArray[np.float64]

    def interval(self) -> Interval:
        """Percentile bootstrap, 95 %: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13."""
        low, high = np.percentile(self.resampled, COVERED_PERCENT)
        return Interval(self.estimate, float(low), float(high))

    def minus(self, other: Sample) -> Sample:
        """The paired difference; both must come from one `Bootstrap`."""
        return Sample(self.estimate - other.estimate, self.resampled - other.resampled)


@dataclass(frozen=True)
class Bootstrap:
    """The customers of a test snapshot, one row each, with their labels (N,): 0 or 1, or amounts."""

    labels: NDArray[np.float64]
    resamples: int = RESAMPLES
    seed: int = SEED

    def ranking(self, scores: NDArray[np.float64]) -> dict[str, Sample]:
        """The metrics of an order: `scores` (N,) need not be probabilities."""
        return self.sample(Ranking(scores, self.labels).metrics)

    def probabilities(self, probabilities: NDArray[np.float64]) -> dict[str, Sample]:
        """The metrics of an order and of a level: `probabilities` are (N,)."""
        ranking = Ranking(probabilities, self.labels)
        return self.sample(
            lambda weights: ranking.metrics(weights) | level_metrics(probabilities, self.labels, weights)
        )

    def sample(self, metrics: Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]) -> dict[str, Sample]:
        """Metrics (R,) by name of weightings (R, N), for the customers as they are and for the resamples."""
        estimates = metrics(np.ones((1, len(self.labels))))
        parts = [metrics(weights) for weights in self._weights()]
        return {
            name: Sample(float(estimate[0]), np.concatenate([part[name] for part in parts]))
            for name, estimate in estimates.items()
        }

    def _weights(self) -> Iterator[NDArray[np.float64]]:
        rows = len(self.labels)
        random = np.random.default_rng(self.seed)
        at_once = max(1, CELLS // rows)
        for start in range(0, self.resamples, at_once):
            count = min(at_once, self.resamples - start)
            drawn = random.integers(0, rows, (count, rows)) + rows * np.arange(count)[:, None]
            yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


@dataclass(frozen=True)
class Ranking:
    """Customers from the highest score to the lowest; equal scores are one step."""

    scores: NDArray[np.float64]
    labels: NDArray[np.float64]

    def metrics(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """AUC, average precision, and the share of positives in the top tenth with its lift, each (R,)."""
        positives, customers = self.gains(weights)
        top = captured(positives, customers)
        return {
            "auc": _auc(positives, customers - positives),
            "average_precision": _average_precision(positives, customers),
            "top_decile_share": top,
            "lift_top_decile": top / TOP_SHARE,
        }

    def gains(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums of the labels and of the customers from the top down to the end of each step: (R, steps + 1) each."""
        ordered = weights[:, self._order]
        return self._steps(ordered * self.labels[self._order]), self._steps(ordered)

    @cached_property
    def steps(self) -> NDArray[np.intp]:
        """The step (N,) that each customer stands on, 0 at the top."""
        return np.unique(-self.scores, return_inverse=True)[1]

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        """How many customers lie above the first step and down to the end of each (steps + 1,)."""
        ordered = self.scores[self._order]
        return np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [len(ordered)]])

    def _steps(self, ordered: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums from the top down to the end of each step, with a zero before the first: (R, steps + 1)."""
        sums = np.zeros((len(ordered), ordered.shape[1] + 1))
        np.cumsum(ordered, axis=1, out=sums[:, 1:])
        return sums[:, self._ends]


def level_metrics(
    probabilities: NDArray[np.float64], labels: NDArray[np.float64], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Those of `error_metrics` and the calibration slope, each (R,).

    The slope is that of a logistic line through the log odds (Cox, "Two further applications of a model for binary
    regression", 1958): below 1 the probabilities are too extreme, above 1 too timid.
    """
    kept = np.clip(probabilities, CERTAIN, 1.0 - CERTAIN)
    slope, _ = fit_line(np.log(kept) - np.log1p(-kept), labels, weights)
    return {**error_metrics(probabilities, labels, weights), "calibration_slope": slope}


def error_metrics(
    probabilities: NDArray[np.float64], labels: NDArray[np.float64], weights: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Brier score, log loss and observed to expected positives, each (R,)."""
    total = weights.sum(axis=1)
    kept = np.clip(probabilities, CERTAIN, 1.0 - CERTAIN)
    log_loss = -(labels * np.log(kept) + (1.0 - labels) * np.log1p(-kept))
    return {
        "brier": weights @ (probabilities - labels) ** 2 / total,
        "log_loss": weights @ log_loss / total,
        "observed_expected": weights @ labels / (weights @ probabilities),
    }


def advantage(metric: str, model: dict[str, Sample], other: dict[str, Sample]) -> Interval:
    """How much better `model` is than `other` by `metric`; positive is better."""
    if metric in LOWER_IS_BETTER:
        return other[metric].minus(model[metric]).interval()
    return model[metric].minus(other[metric]).interval()


def _auc(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """The trapezoids under the ROC curve: a tie between a positive and a negative counts one half."""
    heights = positives[:, 1:] + positives[:, :-1]
    area = (np.diff(negatives, axis=1) * heights).sum(axis=1) / 2.0
    share: NDArray[np.float64] = area / (positives[:, -1] * negatives[:, -1])
    return share


def _average_precision(positives: NDArray[np.float64], customers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Precision at each step, weighted by the positives found in it; no interpolation."""
    # A resample may have drawn nobody yet; it has found nobody either, so the weight is zero.
    precision = positives[:, 1:] / np.maximum(customers[:, 1:], 1.0)
    found: NDArray[np.float64] = (np.diff(positives, axis=1) * precision).sum(axis=1) / positives[:, -1]
    return found


def captured(positives: NDArray[np.float64], customers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of all positives, or amounts, among the top tenth of customers (R,); a step is cut in proportion."""
    wanted = TOP_SHARE * customers[:, -1]
    rows = np.arange(len(customers))
    step = (customers < wanted[:, None]).sum(axis=1)
    into = (wanted - customers[rows, step - 1]) / (customers[rows, step] - customers[rows, step - 1])
    before, after = positives[rows, step - 1], positives[rows, step]
    share: NDArray[np.float64] = (before + into * (after - before)) / positives[:, -1]
    return share
