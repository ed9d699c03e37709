"""The parts of a propensity model, categories and responses: which of them are served, and how good those are.

A part is served only where the test part shows it to be worth it, by two hurdles:

- Its ranking lies above that of the rule which marketers use without a model, who bought in the category last or
  responded last, with the whole interval.
- Its level is not shown to be wrong: the interval of observed to expected outcomes reaches into the limits of a model.
  An estimate outside would prove nothing, for what one category sells moves by a tenth from week to week.

A part that does not take both is left out of the bundle, with a warning and its figures. The alternative is a gate that
refuses the whole model for one part in which forty customers may decide, until somebody takes it out of the project and
trains again: the same bundle in the end, later. That is all the test part has a say in. The lead over the rule stays in
the evidence, as a gate that has been passed.

Logistic regression is shown beside every part and decides nothing: it comes as close as it does for the purchase, where
it is a gate, and on the few customers of a part its interval alone may be wider than the margin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from model_registry.evidence import Comparison
from training.core.baselines import LOGISTIC, RECENCY, logistic_scores
from training.core.eligibility import LATER
from training.core.errors import NotEligibleError
from training.core.evaluate import Bootstrap, Ranking, advantage, error_metrics
from training.core.grade import grade
from training.core.judge import DECIDING, LEVEL, LEVEL_LIMITS
from training.core.pipeline import Illustration
from training.propensity.plots import overview

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from model_registry.evidence import Interval
    from training.core.dataset import Dataset
    from training.core.evaluate import Sample
    from training.core.pipeline import Judgement
    from training.propensity.targets import Target

FIGURES = ("auc", "brier", "observed_expected", "lift_top_decile")
"""What is told of a part: all that is told of the purchase, five times over, nobody would read."""

CATEGORY_LIMIT = (
    "Categories are foreseen one by one. One basket may hold something of each, so their probabilities do not add up "
    "to that of a purchase."
)
RESPONSE_LIMIT = "The probability of a response supposes campaigns like those of the training snapshots."


def require_worth(dataset: Dataset, target: Target, scores: NDArray[np.float64]) -> None:
    """Raises NotEligibleError, with the figures, unless probabilities (N,) of the test part take both hurdles."""
    bootstrap = _bootstrap(dataset, target)
    model = _figures(bootstrap, scores)
    recency = target.rule(dataset.test.columns, dataset.features)
    if recency is not None:
        rule = bootstrap.ranking(recency)
        lead = advantage(DECIDING, model, rule)
        if not lead.low > 0:
            raise NotEligibleError(
                f"on the test part its AUC is {model[DECIDING].estimate:.3f}, and choosing by {target.recency} reaches "
                f"{rule[DECIDING].estimate:.3f}; all of the difference of {lead} must lie above 0; {LATER}"
            )
    level = model[LEVEL].interval()
    low, high = LEVEL_LIMITS
    if level.high < low or level.low > high:
        raise NotEligibleError(
            f"on the test part {level} outcomes came for each that was foreseen, and {low} to {high} is asked; {LATER}"
        )


def _bootstrap(dataset: Dataset, target: Target) -> Bootstrap:
    return Bootstrap(dataset.test.labels[target.label].astype(np.float64))


def _figures(bootstrap: Bootstrap, scores: NDArray[np.float64]) -> dict[str, Sample]:
    ranking = Ranking(scores, bootstrap.labels)
    return bootstrap.sample(lambda weights: ranking.metrics(weights) | error_metrics(scores, bootstrap.labels, weights))


@dataclass(frozen=True)
class _Tried:
    """A part on the test part: what it said, its figures, and those of its rivals on the same resamples."""

    target: Target
    labels: NDArray[np.float64]
    scores: NDArray[np.float64]
    model: dict[str, Sample]
    rivals: dict[str, dict[str, Sample]]

    def named(self, samples: Mapping[str, Sample]) -> dict[str, Interval]:
        """Figures under the names of this part, such as `auc[GROCERY]`."""
        return {f"{name}[{self.target.subject}]": samples[name].interval() for name in FIGURES if name in samples}

    def comparisons(self) -> Iterator[Comparison]:
        if RECENCY in self.rivals:
            subject = self.target.subject
            lead = advantage(DECIDING, self.model, self.rivals[RECENCY])
            yield Comparison(f"{RECENCY} of {subject}", f"{DECIDING}[{subject}]", lead)


def with_parts(judgement: Judgement, dataset: Dataset, scores: Mapping[Target, NDArray[np.float32]]) -> Judgement:
    """The judgement of the purchase, and beside it that of the parts whose `scores` (N,) of the test part these are."""
    if not scores:
        return judgement
    tried = [_try(dataset, target, values.astype(np.float64)) for target, values in scores.items()]
    metrics = dict(judgement.metrics)
    others = {name: dict(figures) for name, figures in judgement.others.items()}
    for one in tried:
        metrics |= one.named(one.model)
        for name, samples in one.rivals.items():
            others.setdefault(name, {}).update(one.named(samples))
    baselines = (*judgement.baselines, *(comparison for one in tried for comparison in one.comparisons()))
    return replace(
        judgement,
        metrics=metrics,
        others=others,
        baselines=baselines,
        illustrations=(*judgement.illustrations, _illustrate(tried)),
        limits=(*judgement.limits, *_limits(scores)),
        grade=grade(DECIDING, metrics[DECIDING], baselines, judgement.requirements),
    )


def _try(dataset: Dataset, target: Target, scores: NDArray[np.float64]) -> _Tried:
    bootstrap = _bootstrap(dataset, target)
    logistic = logistic_scores(dataset.train, dataset.test.columns, dataset.features, target.label)
    rivals = {LOGISTIC: _figures(bootstrap, logistic)}
    recency = target.rule(dataset.test.columns, dataset.features)
    if recency is not None:
        rivals[RECENCY] = bootstrap.ranking(recency)
    return _Tried(target, bootstrap.labels, scores, _figures(bootstrap, scores), rivals)


def _limits(targets: Mapping[Target, object]) -> Iterator[str]:
    if any(target.category for target in targets):
        yield CATEGORY_LIMIT
    if not all(target.category for target in targets):
        yield RESPONSE_LIMIT


def _illustrate(tried: list[_Tried]) -> Illustration:
    return Illustration(
        "parts",
        "What is foreseen beside a purchase. Left, probability said against frequency seen in tenths of the customers; "
        "on the dashed line, what is said comes true. Right, how often the outcome occurs in each tenth of a ranking.",
        overview({one.target.subject: (one.labels, one.scores) for one in tried}),
    )
