"""Propensity: who orders within the horizon, what of, and who answers a campaign."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from features.horizon import propensity_horizon
from features.labels import outcomes
from features.tables import open_tables
from model_registry.schema import Output, PopulationRule, Schema, Status
from training.core.booster import thresholds
from training.core.classifier import tune
from training.core.dataset import design_matrix
from training.core.eligibility import MINIMUM_TEST, MINIMUM_TRAINING, MORE, require_both_outcomes
from training.core.errors import NotEligibleError, TrainingError
from training.core.graph import probability_graph
from training.core.judge import judge_classifier
from training.core.pipeline import Fitted
from training.core.reference import quantiles
from training.core.snapshots import History, Question, dated_dataset
from training.propensity.parts import require_worth, with_parts
from training.propensity.targets import PURCHASE, parts_of, require_known_categories

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Container, Mapping

    import ibis
    from numpy.typing import NDArray

    from features.project import Project
    from features.tables import CustomerTables
    from model_registry.schema import Feature
    from training.core.champion import Champion
    from training.core.classifier import Calibrated, Tuned
    from training.core.dataset import Dataset, Rows
    from training.core.pipeline import Judgement, Progress, Scores
    from training.propensity.targets import Target

REMEDY = f"change propensity.horizon_days, or {MORE}"


@dataclass(frozen=True, kw_only=True)
class FittedPropensity(Fitted):
    """Knows which parts made it into the bundle."""

    parts: tuple[Target, ...]


class PropensityPipeline:
    """Implements `Pipeline`: a calibrated booster for each target, all of them over the same features."""

    name = "propensity"

    def dataset(self, project: Project, as_of: dt.date | None) -> Dataset:
        """Everybody with an order before each snapshot, and what they did in the days that followed."""
        tables = open_tables(project)
        history = History.of(tables, as_of)
        require_known_categories(project, tables.transactions, history.stand)
        days = propensity_horizon(project.propensity, tables, history.stand)
        labels = (PURCHASE.label, *(target.label for target in parts_of(project)))

        def answers(tables: CustomerTables, date: dt.date) -> ibis.Table:
            return outcomes(tables, date, horizon_days=days)

        question = Question(days, "propensity.horizon_days", labels, answers, by_category=True)
        dataset = dated_dataset(project, tables, history, question)
        _require_enough(dataset, PURCHASE)
        return _without_rare(dataset, parts_of(project))

    def fit(self, dataset: Dataset, project: Project, champion: Champion, progress: Progress) -> FittedPropensity:  # noqa: ARG002 - propensities start anew every time
        """Tunes for the purchase, fits the parts with what won, and exports all of them as one graph.

        Parameters and importances are those of the purchase. The test part has no say in trees and calibration. It
        lends its scores as the reference that percentiles are read off, and says which parts are worth serving.
        """
        purchase = tune(dataset.train, dataset.features, PURCHASE.label, dataset.horizon_days, progress)
        heads, warnings = _with_parts(dataset, project, purchase, progress)
        reference = purchase.model.probabilities(design_matrix(dataset.test.columns, dataset.features))
        outputs = tuple(_output(target, reference) for target in heads)
        schema = Schema(dataset.features, outputs, _population(dataset.features))
        return FittedPropensity(
            schema=schema,
            graph=probability_graph(
                schema,
                {target.output: model for target, model in heads.items()},
                {target.output: PURCHASE.output for target in heads if target.category},
            ),
            native=lambda columns: _probabilities(heads, design_matrix(columns, dataset.features)),
            thresholds=thresholds(*(model.booster for model in heads.values())),
            parameters={**purchase.parameters, "trees": purchase.trees},
            importances=purchase.importances,
            warnings=warnings,
            parts=tuple(target for target in heads if target != PURCHASE),
        )

    def judge(self, dataset: Dataset, fitted: FittedPropensity, scores: Scores, champion: Champion) -> Judgement:
        """The purchase against recency, logistic regression and the champion; beside it the parts.

        A champion may have had other categories, so it is the purchase that is compared.
        """
        reigning = champion.scores[PURCHASE.output] if champion.scores else None
        purchase = judge_classifier(dataset, PURCHASE.label, scores[PURCHASE.output], reigning, PURCHASE.rule)
        return with_parts(purchase, dataset, {target: scores[target.output] for target in fitted.parts})


def _require_enough(dataset: Dataset, target: Target) -> None:
    """Raises NotEligibleError where too few customers did it, or too few did not."""
    require_both_outcomes("training part", dataset.train, target.label, MINIMUM_TRAINING, remedy=REMEDY)
    require_both_outcomes("test part", dataset.test, target.label, MINIMUM_TEST, remedy=REMEDY)


def _without_rare(dataset: Dataset, parts: tuple[Target, ...]) -> Dataset:
    """The dataset without the labels that too few customers tell apart, and with a warning for each."""
    warnings = {}
    for target in parts:
        try:
            _require_enough(dataset, target)
        except NotEligibleError as error:
            warnings[target.label] = _left_out(target, error)
    train, test = (_without_labels(rows, warnings) for rows in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test, warnings=(*dataset.warnings, *warnings.values()))


def _without_labels(rows: Rows, names: Container[str]) -> Rows:
    return replace(rows, labels={name: values for name, values in rows.labels.items() if name not in names})


def _left_out(target: Target, error: TrainingError) -> str:
    return f"{target.subject}: left out of the model, because {error}."


def _with_parts(
    dataset: Dataset, project: Project, purchase: Tuned, progress: Progress
) -> tuple[dict[Target, Calibrated], tuple[str, ...]]:
    """The purchase and the parts that are worth serving; a warning for each that is not."""
    heads = {PURCHASE: purchase.model}
    warnings = []
    matrix = design_matrix(dataset.test.columns, dataset.features)
    for target in parts_of(project):
        if target.label not in dataset.train.labels:
            continue
        grid = (purchase.candidate,)
        try:
            model = tune(dataset.train, dataset.features, target.label, dataset.horizon_days, progress, grid).model
            said = _probabilities({PURCHASE: purchase.model, target: model}, matrix)
            require_worth(dataset, target, said[target.output])
            heads[target] = model
        except TrainingError as error:
            warnings.append(_left_out(target, error))
    return heads, tuple(warnings)


def _output(target: Target, purchases: NDArray[np.float64]) -> Output:
    """Only a purchase is told with its percentile, among these of the reference base (N,)."""
    reference = quantiles(purchases) if target == PURCHASE else ()
    return Output(target.output, "probability", reference=reference, category=target.category)


def _probabilities(heads: Mapping[Target, Calibrated], matrix: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """By output. A basket with something of a category is a basket: none is likelier than any purchase at all."""
    said = {target: model.probabilities(matrix) for target, model in heads.items()}
    return {
        target.output: np.minimum(values, said[PURCHASE]) if target.category else values
        for target, values in said.items()
    }


def _population(features: tuple[Feature, ...]) -> tuple[PopulationRule, ...]:
    """Who the answer means something for: whoever has ordered."""
    if all(feature.name != "frequency" for feature in features):
        return ()
    return (PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=1.0),)


PIPELINE = PropensityPipeline()
"""Found by this name, as in every model's pipeline."""
