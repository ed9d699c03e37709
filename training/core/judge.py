"""The judgement of a binary classifier: against the simple rules, and against the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.evidence import Comparison, Requirement
from model_registry.gates import NON_INFERIORITY_MARGIN
from training.core.baselines import LOGISTIC, RECENCY, logistic_scores, recency_scores
from training.core.evaluate import Bootstrap, advantage
from training.core.grade import grade
from training.core.pipeline import Illustration, Judgement
from training.core.plots import calibration, deciles, discrimination, lift

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from model_registry.columns import Columns
    from model_registry.evidence import Interval
    from model_registry.schema import Feature
    from training.core.dataset import Dataset
    from training.core.evaluate import Sample

    Rule = Callable[[Columns, Sequence[Feature]], NDArray[np.float64] | None]

CHAMPION = "champion"
DECIDING = "auc"
"""The metric that comparisons are decided by: the only one that a rule without probabilities has too."""

LEVEL = "observed_expected"
LEVEL_LIMITS = (0.8, 1.25)
"""Ranks may be right and every probability a third too low: whoever budgets by the sum must not be misled."""

MEANINGS = {
    "auc": "AUC: how often a customer with the outcome ranks above one without it",
    "average_precision": "Average precision: the precision met on the way down the ranking",
    "brier": "Brier score: mean squared error of the probability; lower is better",
    "log_loss": "Log loss: how much the outcomes surprise the probabilities; lower is better",
    "calibration_slope": "Calibration slope: 1 is right; below, the probabilities are too extreme, above, too timid",
    "observed_expected": "Observed / expected: outcomes for each one foreseen; above 1 the probabilities are too low",
    "top_decile_share": "Top tenth's share: how many of all outcomes the top 10 % of customers hold",
    "lift_top_decile": "Lift of the top tenth: how many times as often as on average the outcome occurs in it",
}

LIMITS = (
    "The score says who is likely to have the outcome, not whom a message would change.",
    "The intervals say how much customers vary. One test part cannot say how much seasons, prices or rivals do.",
    "No sensitive attribute is an input; whether scores differ between groups is for the fairness audit to say.",
)
DATED_LIMIT = "Most test customers were in training too, at earlier dates: the figures hold for a known customer base."


def judge_classifier(
    dataset: Dataset,
    label: str,
    scores: NDArray[np.float32],
    champion: NDArray[np.float32] | None,
    rule: Rule = recency_scores,
) -> Judgement:
    """Metrics with intervals, paired differences and plots for probabilities (N,) of the test part.

    Recency must be beaten; `rule` says whether a long or a short one speaks for the outcome. Logistic regression, well
    prepared on the same features, must not beat the model: on behaviour features it comes so close that demanding a
    lead would only measure the size of the test part.
    """
    labels = dataset.test.labels[label].astype(np.float64)
    bootstrap = Bootstrap(labels)
    probabilities = scores.astype(np.float64)
    model = bootstrap.probabilities(probabilities)
    rivals: dict[str, dict[str, Sample]] = {}
    baselines = []
    curves = {"model": probabilities}
    recency = rule(dataset.test.columns, dataset.features)
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
    requirements = (Requirement(LEVEL, metrics[LEVEL].estimate, *LEVEL_LIMITS),)
    return Judgement(
        metrics=metrics,
        others={name: _intervals(rival) for name, rival in rivals.items()},
        baselines=tuple(baselines),
        champion=_compare(CHAMPION, model, rivals[CHAMPION]) if champion is not None else None,
        illustrations=_illustrate(labels, curves),
        meanings=MEANINGS,
        limits=(*LIMITS, DATED_LIMIT) if dataset.has_time_axis else LIMITS,
        requirements=requirements,
        grade=grade(DECIDING, metrics[DECIDING], baselines, requirements),
    )


def _compare(other: str, model: dict[str, Sample], rival: dict[str, Sample], margin: float = 0.0) -> Comparison:
    return Comparison(other, DECIDING, advantage(DECIDING, model, rival), margin)


def _intervals(samples: dict[str, Sample]) -> dict[str, Interval]:
    return {name: sample.interval() for name, sample in samples.items()}


def _illustrate(labels: NDArray[np.float64], curves: dict[str, NDArray[np.float64]]) -> tuple[Illustration, ...]:
    return (
        Illustration(
            "discrimination",
            "Left, how fast the outcomes are found on the way down the ranking, against the customers without it who "
            "are met on the way; on the dashed line, by chance. Right, how many of those met so far have the outcome; "
            "the dashed line is the average.",
            discrimination(labels, curves),
        ),
        Illustration(
            "calibration",
            "Left, probability said against frequency seen in tenths of the customers, with 95 % Wilson intervals; on "
            "the dashed line, what is said comes true. Right, how many customers are told which probability.",
            calibration(labels, curves["model"]),
        ),
        Illustration(
            "deciles",
            "Left, how often the outcome occurs in each tenth of the ranking, and how often it was said to. Right, the "
            "share of all outcomes found among the customers at the top; on the dashed line, by chance.",
            deciles(labels, curves["model"]),
        ),
        Illustration(
            "lift",
            "Left, how many times as often as on average the outcome occurs in each tenth of the ranking. Right, the "
            "same for the top of any size, beside the simpler rules.",
            lift(labels, curves),
        ),
    )
