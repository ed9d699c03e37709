"""The judgement of lifetime values: against the simple rules, against the champion, and against their own promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.evidence import Comparison, Requirement
from model_registry.gates import NON_INFERIORITY_MARGIN
from training.cltv.baselines import MBG_NBD, SPEND_RATE, rhythm, spend_rate
from training.cltv.regressor import INTERVAL_LEVEL
from training.core.evaluate import advantage
from training.core.grade import grade
from training.core.judge import CHAMPION
from training.core.pipeline import Illustration, Judgement
from training.core.value_metrics import ValueBootstrap
from training.core.value_plots import coverage, gains, levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from model_registry.evidence import Interval
    from training.core.amounts import Foreseen
    from training.core.dataset import Dataset
    from training.core.evaluate import Sample

DECIDING = "gini"
"""The metric that comparisons are decided by. A rank correlation favours scores that say the same of many: where most
customers spend nothing, nothing is lost by tying them."""

MARGINS = {SPEND_RATE: 0.0, MBG_NBD: NON_INFERIORITY_MARGIN}
"""How far below zero a comparison may reach. The spend rate must be beaten. MBG/NBD must not win: it ranks nearly as
well on transactions alone, and demanding a lead would then measure the size of the test part."""

TOTAL = (0.9, 1.1)
"""What a budget bears."""

COVERAGE_TOLERANCE = 0.04
"""Four standard errors of a coverage of .8 among 1,600 customers."""

MEANINGS = {
    "gini": "Gini coefficient: how much of the perfect order's concentration of money the ranking finds; 0 is chance",
    "rank_correlation": "Rank correlation: Spearman's, ties at their mean; it favours rules that tie many customers",
    "top_decile_share": "Top tenth's share: how much of all money the top 10 % of customers bring",
    "aggregate_ratio": "Expected / actual total: above 1 too much was foreseen",
    "mae": "Mean absolute error, in money: lower is better",
    "coverage": "Coverage: the share of customers whose amount lies within the bounds",
    "interval_width": "Width of the bounds over the mean amount: narrower says more",
}

LIMITS = (
    "The value is revenue, net of refunds and before costs, over the horizon alone; it is no profit and no lifetime.",
    "The score says who is likely to spend, not whom a message would make spend more.",
    "The intervals say how much customers vary. One test part cannot say how much seasons, prices or rivals do.",
    "No sensitive attribute is an input; whether scores differ between groups is for the fairness audit to say.",
)
DATED_LIMIT = "Most test customers were in training too, at earlier dates: the figures hold for a known customer base."
ACROSS_LIMIT = (
    "Training and test customers lived through the same days, so the total is that of a season already seen; how far "
    "totals miss on a later date is not measured. The rules saw nothing of these days."
)


def judge_values(
    dataset: Dataset, label: str, foreseen: Foreseen, promised: float, champion: NDArray[np.float32] | None, unit: str
) -> Judgement:
    """Metrics with intervals, paired differences, requirements and plots.

    Args:
        dataset: its test part holds the amounts that came.
        label: the amounts' name.
        foreseen: by the model, of the test part.
        promised: the coverage of customers who were held out in training.
        champion: the champion's expected amounts (N,), if there is one.
        unit: of the amounts.
    """
    amounts = dataset.test.labels[label].astype(np.float64)
    bootstrap = ValueBootstrap(amounts)
    model = bootstrap.intervals(foreseen)
    rules = _rules(dataset)
    rivals = {name: bootstrap.values(scores) for name, scores in rules.items()}
    baselines = tuple(_compare(name, model, rival, MARGINS[name]) for name, rival in rivals.items())
    if champion is not None:
        rivals[CHAMPION] = bootstrap.values(champion.astype(np.float64))
    metrics = _intervals(model)
    requirements = _requirements(metrics, promised)
    return Judgement(
        metrics=metrics,
        others={name: _intervals(rival) for name, rival in rivals.items()},
        baselines=baselines,
        champion=_compare(CHAMPION, model, rivals[CHAMPION]) if champion is not None else None,
        illustrations=_illustrate(amounts, foreseen, rules, promised, unit or "money"),
        meanings=MEANINGS,
        limits=(*LIMITS, ACROSS_LIMIT if dataset.across_customers else DATED_LIMIT, *_exceptions(rules, promised)),
        requirements=requirements,
        grade=grade(DECIDING, metrics[DECIDING], baselines, requirements),
    )


def _rules(dataset: Dataset) -> dict[str, NDArray[np.float64]]:
    """The amounts (N,) of the rules whose features the project kept."""
    columns, features, days = dataset.test.columns, dataset.features, dataset.horizon_days
    amounts = {SPEND_RATE: spend_rate(columns, features, days), MBG_NBD: rhythm(columns, features, days)}
    return {name: values for name, values in amounts.items() if values is not None}


def _compare(other: str, model: dict[str, Sample], rival: dict[str, Sample], margin: float = 0.0) -> Comparison:
    return Comparison(other, DECIDING, advantage(DECIDING, model, rival), margin)


def _intervals(samples: dict[str, Sample]) -> dict[str, Interval]:
    return {name: sample.interval() for name, sample in samples.items()}


def _requirements(metrics: dict[str, Interval], promised: float) -> tuple[Requirement, ...]:
    most = max(INTERVAL_LEVEL, round(promised, 2))
    return (
        Requirement("aggregate_ratio", metrics["aggregate_ratio"].estimate, *TOTAL),
        Requirement(
            "coverage",
            metrics["coverage"].estimate,
            round(INTERVAL_LEVEL - COVERAGE_TOLERANCE, 2),
            round(most + COVERAGE_TOLERANCE, 2),
        ),
    )


def _exceptions(rules: dict[str, NDArray[np.float64]], promised: float) -> Iterator[str]:
    for name in MARGINS:
        if name not in rules:
            yield f"Not compared with {name}: the project drops a feature that it is read off."
    if promised > INTERVAL_LEVEL + COVERAGE_TOLERANCE:
        yield (
            f"So many customers spend nothing that their lower bound is nothing, which nobody undercuts: of the "
            f"customers held out in training, the bounds cover {promised:.0%} and not {INTERVAL_LEVEL:.0%}."
        )


def _illustrate(
    amounts: NDArray[np.float64],
    foreseen: Foreseen,
    rules: dict[str, NDArray[np.float64]],
    promised: float,
    unit: str,
) -> tuple[Illustration, ...]:
    return (
        Illustration(
            "levels",
            "Left, the mean amount expected against the mean that came in tenths of the customers, with 95 % "
            "intervals; on the dashed line, what is expected comes. Right, the same as a ratio.",
            levels(amounts, foreseen.expected, unit),
        ),
        Illustration(
            "gains",
            "Left, the share of all money found among the customers at the top, beside the simpler rules; on the "
            "dashed line, by chance. Right, how much of it each tenth of the customers brings.",
            gains(amounts, {"model": foreseen.expected, **rules}),
        ),
        Illustration(
            "coverage",
            "Left, how many customers lie beyond their bounds in each tenth; the dashed line is what held-out "
            "customers promised. Right, the mean expected amount between the mean bounds.",
            coverage(amounts, foreseen, promised, unit),
        ),
    )
