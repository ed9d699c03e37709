"""The grade, explained: the rule, the figure that decided, and what the next grade takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from model_registry.page import MOST_DECIMALS, bullets, element, estimate, interval, joined, limit, number, paragraph
from training.core.grade import EXCELLENT, FAIR, GOOD, GRADES, POOR, SCALES, grade
from training.core.wording import between, metric_name

if TYPE_CHECKING:
    from model_registry.evidence import Comparison, Requirement
    from model_registry.page import Html
    from training.core.pipeline import Judgement


def deciding_metric(judgement: Judgement) -> str | None:
    """The metric that the grade is read off: the one that has a scale; None where there is none."""
    return next((name for name in judgement.metrics if name in SCALES), None)


def explained(judgement: Judgement) -> Html:
    """The grade among its siblings, and why; nothing where the model has none."""
    metric = deciding_metric(judgement)
    if not judgement.grade or metric is None:
        return joined()
    return joined(
        _scale(judgement.grade), paragraph(_why(judgement, metric)), _failures(judgement), _rule(judgement, metric)
    )


def _scale(reached: str) -> Html:
    steps = (element("li", one, aria_current="true" if one == reached else "") for one in GRADES)
    return element("ol", *steps, class_="steps", aria_label=f"Grade: {reached}")


def _why(judgement: Judgement, metric: str) -> str:
    strength, scale = judgement.metrics[metric], SCALES[metric]
    figures = (
        f"{metric_name(judgement.meanings, metric)} is {estimate(strength)}, and the lower end of its interval, "
        f"{_rounded_down(strength.low)}"
    )
    if judgement.grade == POOR:
        return (
            f"A gate failed, as told below. Without that it would be {grade(metric, strength, ())}: {figures}, decides."
        )
    reasons = {
        FAIR: f"stays below the {scale.good} of a good model",
        GOOD: f"reaches the {scale.good} of a good model; an excellent one needs {scale.excellent}",
        EXCELLENT: f"reaches the {scale.excellent} of an excellent model; there is no higher grade",
    }
    return f"Every gate passed. {figures}, {reasons[judgement.grade]}."


def _rounded_down(figure: float) -> str:
    # Rounded up, a figure that misses a limit by a hair would seem to reach it.
    return number(math.floor(figure * 10**MOST_DECIMALS) / 10**MOST_DECIMALS, MOST_DECIMALS)


def _failures(judgement: Judgement) -> Html:
    compared = (_failed_comparison(judgement, one) for one in judgement.baselines if not one.passed)
    required = (_failed_requirement(judgement, one) for one in judgement.requirements if not one.passed)
    return bullets([*compared, *required])


def _failed_comparison(judgement: Judgement, one: Comparison) -> str:
    return (
        f"{metric_name(judgement.meanings, one.metric)} against {one.other}: the difference is "
        f"{interval(one.difference)}, and its whole interval must lie above {limit(-one.margin)}."
    )


def _failed_requirement(judgement: Judgement, one: Requirement) -> str:
    name = metric_name(judgement.meanings, one.metric)
    return f"{name}: the figure is {number(one.figure)}, and must be {between(one.low, one.high)}."


def _rule(judgement: Judgement, metric: str) -> Html:
    name, scale = metric_name(judgement.meanings, metric), SCALES[metric]
    return paragraph(
        "The rule: poor is a model that fails a gate against a simple rule or a requirement; otherwise the lower end "
        f"of the interval of {name} decides: good from {scale.good}, excellent from {scale.excellent}, fair below.",
        soft=True,
    )
