"""What the suite's models and their outputs are, in the words of those who use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_registry.page import limit, number, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_registry.bundle import Manifest
    from model_registry.schema import Feature, Output, PopulationRule

PROBABILITY = "probability"
HUNDREDS = 100.0
_PLAIN_UNITS = frozenset({"", PROBABILITY, "quintile", "cluster"})
"""Units that the meaning of the output tells already."""

CLUSTER = "cluster_id"
"""The output whose bands are names of segments, and not steps from low to high."""

_PURPOSES = {
    "churn": "Says how likely a customer is to leave, so that those who may can be talked to while they still listen.",
    "propensity": "Says how likely a customer is to buy, and what, so that an offer goes to those it may interest.",
    "cltv": "Says how much revenue a customer will bring, so that service and budgets follow value.",
    "clustering": "Says which segment of similar customers a customer belongs to, so that each can be spoken to in "
    "its own way.",
}
_OUTPUTS = {
    "churn_probability": "Probability that the customer leaves",
    "purchase_probability": "Probability of an order",
    "response_probability": "Probability of a response to a campaign",
    "expected_value": "Expected revenue",
    "lower_bound": "Lower bound of the revenue",
    "upper_bound": "Upper bound of the revenue",
    CLUSTER: "The segment whose centre is nearest; ids outlive retraining",
    "distance": "Distance to the centre of that segment",
    "runner_up_id": "The segment whose centre is second nearest",
    "runner_up_distance": "Distance to the centre of the second nearest segment",
    "recency_score": "Fifth of the customers by their last order; 5 is the latest",
    "frequency_score": "Fifth of the customers by their number of orders; 5 is the most",
    "monetary_score": "Fifth of the customers by what they spent; 5 is the most",
}
_INTERVAL_LEVEL = "interval_level"
_BOUNDS = ("lower_bound", "upper_bound")


def purpose(manifest: Manifest) -> str:
    """What the model is for."""
    outputs = ", ".join(output.name for output in manifest.schema.outputs)
    return _PURPOSES.get(manifest.name, f"Scores customers with {outputs}.")


def meaning(output: Output, manifest: Manifest) -> str:
    """What an output says of a customer, and in which unit where that is not plain."""
    base = output.name.partition("[")[0]
    said = _OUTPUTS.get(base) or base.replace("_", " ").capitalize()
    of = f" with {output.category}" if output.category else ""
    # Segments and fifths describe the past; only what is foreseen has a horizon.
    foreseen = manifest.horizon_days and (output.unit == PROBABILITY or base in {"expected_value", *_BOUNDS})
    when = f" within {manifest.horizon_days} days" if foreseen else ""
    return f"{said}{of}{when}{measured_in(output)}{_coverage(base, manifest)}"


def amounts(values: Sequence[float], unit: str) -> list[str]:
    """Values of an output, all as fine as its unit and the largest of them are read."""
    if unit == PROBABILITY:
        return [number(value, 3) for value in values]
    largest = max(map(abs, values), default=0.0)
    return [number(value, 0 if largest >= HUNDREDS else 2) for value in values]


def population_rule(rule: PopulationRule, feature: Feature) -> str:
    """Whom a rule on this feature scores, and what the others are told."""
    described = ", ".join(text for text in (feature.unit, feature.description) if text)
    limits = (
        f"{between(rule.minimum, rule.maximum)} ({described})" if described else between(rule.minimum, rule.maximum)
    )
    return f"{feature.name} is {limits}; the others are answered {rule.status.name}, without a score"


def measured_in(output: Output) -> str:
    """The unit, with a word before it; nothing where it is plain."""
    return "" if output.unit in _PLAIN_UNITS else f", in {output.unit}"


def metric_meaning(meanings: Mapping[str, str], metric: str) -> str:
    """A metric's name with its explanation; that of one part, such as `auc[GROCERY]`, names the part."""
    base, bracket, part = metric.partition("[")
    if metric in meanings or not bracket:
        return meanings.get(metric) or base.replace("_", " ").capitalize()
    name, colon, explanation = metric_meaning(meanings, base).partition(":")
    return f"{name} for {part.removesuffix(']')}{colon}{explanation}"


def between(low: float | None, high: float | None) -> str:
    """Limits in words."""
    parts = (
        f"at least {limit(low)}" if low is not None else "",
        f"at most {limit(high)}" if high is not None else "",
    )
    return " and ".join(part for part in parts if part) or "anything"


def metric_name(meanings: Mapping[str, str], metric: str) -> str:
    """A metric's name alone."""
    return metric_meaning(meanings, metric).partition(":")[0]


def _coverage(base: str, manifest: Manifest) -> str:
    level = manifest.constants.get(_INTERVAL_LEVEL)
    return f"; between the two bounds lie {percent(level)} of customers" if base in _BOUNDS and level else ""
