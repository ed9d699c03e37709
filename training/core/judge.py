"""The judgement of a binary classifier: against the simple rules, and against the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.evidence import Comparison
from model_registry.promotion import NON_INFERIORITY_MARGIN
from training.core.baselines import LOGISTIC, RECENCY, logistic_scores, recency_scores
from training.core.evaluate import Bootstrap, advantage
from training.core.grade import grade
from training.core.pipeline import Illustration, Judgement
from training.core.plots import calibration, deciles, discrimination

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_registry.evidence import Interval
    from training.core.dataset import Dataset
    from training.core.evaluate import Sample

CHAMPION = "champion"
DECIDING = "auc"
"""The metric that comparisons are decided by: the only one that a rule without probabilities has too."""

MEANINGS = {
    "auc": "AUC: how often a customer with the outcome ranks above one without it",
    "average_precision": "Average precision: the precision met on the way down the ranking",
    "brier": "Brier score: mean squared error of the probability; lower is better",
    "log_loss": "Log loss: lower is better",
    "calibration_slope": "Calibration slope: below 1 too extreme, above 1 too timid",
    "observed_expected": "Observed / expected: above 1 the level is too low",
    "top_decile_share": "Share of all outcomes found among the top 10 %",
    "lift_top_decile": "Lift of the top 10 % over chance",
}

LIMITS = (
    "The score says who is likely to have the outcome, not whom a message would change.",
    "The intervals say how much customers vary. One test part cannot say how much seasons, prices or rivals do.",
    "No sensitive attribute is an input; whether scores differ between groups is for the fairness audit to say.",
)
DATED_LIMIT = "Most test customers were in training too, at earlier dates: the figures hold for a known customer base."


def judge_classifier(
    dataset: Dataset, label: str, scores: NDArray[np.float32], champion: NDArray[np.float32] | None
) -> Judgement:
    """Metrics with intervals, paired differences and plots for probabilities (N,) of the test part.

    Recency must be beaten. Logistic regression, well prepared on the same features, must not beat the model: on
    behaviour features it comes so close that demanding a lead would only measure the size of the test part.
    """
    labels = dataset.test.labels[label].astype(np.float64)
    bootstrap = Bootstrap(labels)
    probabilities = scores.astype(np.float64)
    model = bootstrap.probabilities(probabilities)
    rivals: dict[str, dict[str, Sample]] = {}
    baselines = []
    curves = {"model": probabilities}
    recency = recency_scores(dataset.test.columns, dataset.features)
    if recency is not None:
        curves[RECENCY] = recency
        rivals[RECENCY] = bootstrap.ranking(recency)
        baselines.append(_compare(RECENCY, model, rivals[RECENCY]))
    curves[LOGISTIC] = logistic_scores(dataset.train, dataset.test.columns, dataset.features, label)
    rivals[LOGISTIC] = bootstrap.probabilities(curves[LOGISTIC])
    baselines.append(_compare(LOGISTIC, model, rivals[LOGISTIC], NON_INFERIORITY_MARGIN))
    if champion is not None:
        rivals[CHAMPION] = bootstrap.probabilities(champion.astype(np.float64))
    metrics = _intervals(model)
    return Judgement(
        metrics=metrics,
        others={name: _intervals(rival) for name, rival in rivals.items()},
        baselines=tuple(baselines),
        champion=_compare(CHAMPION, model, rivals[CHAMPION]) if champion is not None else None,
        illustrations=_illustrate(labels, curves),
        meanings=MEANINGS,
        limits=(*LIMITS, DATED_LIMIT) if dataset.has_time_axis else LIMITS,
        grade=grade(DECIDING, metrics[DECIDING], baselines),
    )


def _compare(other: str, model: dict[str, Sample], rival: dict[str, Sample], margin: float = 0.0) -> Comparison:
    return Comparison(other, DECIDING, advantage(DECIDING, model, rival), margin)


def _intervals(samples: dict[str, Sample]) -> dict[str, Interval]:
    return {name: sample.interval() for name, sample in samples.items()}


def _illustrate(labels: NDArray[np.float64], curves: dict[str, NDArray[np.float64]]) -> tuple[Illustration, ...]:
    return (
        Illustration(
            "discrimination",
            "How well the ranking separates customers with the outcome from those without it.",
            discrimination(labels, curves),
        ),
        Illustration(
            "calibration",
            "Probability said against frequency seen, in tenths of the customers, with 95 % Wilson intervals. "
            "On the dashed line, what is said comes true.",
            calibration(labels, curves["model"]),
        ),
        Illustration(
            "deciles",
            "How often the outcome occurs in each tenth of the ranking, and the share of all outcomes found from the "
            "top down.",
            deciles(labels, curves["model"]),
        ),
    )
