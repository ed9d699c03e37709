"""Churn: who orders nothing, or ends the subscription, within the horizon."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np

from features.horizon import churn_horizon
from features.labels import churned
from features.tables import open_tables
from model_registry.schema import Band, Output, PopulationRule, Schema, Status
from training.core.booster import thresholds
from training.core.classifier import tune
from training.core.dataset import design_matrix
from training.core.eligibility import LATER, MINIMUM_TEST, MINIMUM_TRAINING, require_both_outcomes
from training.core.graph import probability_graph
from training.core.judge import judge_classifier
from training.core.pipeline import Fitted
from training.core.reference import quantiles
from training.core.snapshots import History, Question, dated_dataset, undated_dataset

if TYPE_CHECKING:
    import ibis
    from numpy.typing import NDArray

    from features.project import Project
    from features.tables import CustomerTables
    from model_registry.columns import Columns
    from training.core.champion import Champion
    from training.core.classifier import Tuned
    from training.core.dataset import Dataset
    from training.core.pipeline import Judgement, Progress, Scores

LABEL = "churned"
OUTPUT = "churn_probability"
EVEN = 0.5


class ChurnPipeline:
    """Implements `Pipeline`: a calibrated booster over behaviour features."""

    name = "churn"

    def dataset(self, project: Project, as_of: dt.date | None) -> Dataset:
        """Active customers at each snapshot and who of them left; one table of customers where churn is a column."""
        tables = open_tables(project)
        dataset = _dataset(project, tables, as_of)
        remedy = f"widen churn.active_days, change churn.horizon_days, or {LATER}" if dataset.has_time_axis else LATER
        require_both_outcomes("training part", dataset.train, LABEL, MINIMUM_TRAINING, remedy=remedy)
        require_both_outcomes("test part", dataset.test, LABEL, MINIMUM_TEST, remedy=remedy)
        return dataset

    def fit(self, dataset: Dataset, project: Project, champion: Champion, progress: Progress) -> Fitted:  # noqa: ARG002 - churn starts anew every time
        """Tunes, calibrates and exports.

        The test part has no say in the trees, their calibration and the bands, whose average is that of customers
        held out of training folds. It only lends its scores as the reference that percentiles are read off.
        """
        tuned = tune(dataset.train, dataset.features, LABEL, dataset.horizon_days, progress)
        model = tuned.model
        bare = Schema(dataset.features, (Output(OUTPUT, "probability"),))
        reference = model.probabilities(design_matrix(dataset.test.columns, dataset.features))
        output = Output(OUTPUT, "probability", risk_bands(tuned), quantiles(reference))
        schema = Schema(dataset.features, (output,), _population(dataset, project))

        def native(columns: Columns) -> dict[str, NDArray[np.float64]]:
            return {OUTPUT: model.probabilities(design_matrix(columns, dataset.features))}

        return Fitted(
            schema=schema,
            graph=probability_graph(bare, {OUTPUT: model}),
            native=native,
            thresholds=thresholds(model.booster),
            parameters={**tuned.parameters, "trees": tuned.trees},
            importances=tuned.importances,
        )

    def judge(self, dataset: Dataset, fitted: Fitted, scores: Scores, champion: Champion) -> Judgement:  # noqa: ARG002 - the scores say it all
        """Against recency, logistic regression and the champion."""
        return judge_classifier(dataset, LABEL, scores[OUTPUT], champion.scores[OUTPUT] if champion.scores else None)


def risk_bands(tuned: Tuned) -> tuple[Band, ...]:
    """Two lines that a marketer knows: the average customer's risk, and one half.

    LOW reaches neither, MEDIUM one of them, HIGH both. Where fewer than half leave, MEDIUM is riskier than the
    average and HIGH likelier to leave than to stay. The average is that of held-out customers, said by the model.
    """
    average = float(np.float32(tuned.held_out.mean()))
    medium, high = sorted((average, EVEN))
    # Where exactly half leave, the two lines are one, and bands must ascend.
    return Band("LOW", 0.0), Band("MEDIUM", medium), Band("HIGH", high if high > medium else (1.0 + high) / 2.0)


def _dataset(project: Project, tables: CustomerTables, as_of: dt.date | None) -> Dataset:
    days = churn_horizon(project.churn, tables, as_of) if tables.has_time_axis else 0

    def answers(tables: CustomerTables, date: dt.date) -> ibis.Table:
        return churned(tables, date, horizon_days=days, active_days=project.churn.active_days)

    question = Question(days, "churn.horizon_days", (LABEL,), answers)
    if tables.has_time_axis:
        return dated_dataset(project, tables, History.of(tables, as_of), question)
    date = as_of or dt.datetime.now(tz=dt.UTC).date()
    return undated_dataset(project, tables, date, question)


def _population(dataset: Dataset, project: Project) -> tuple[PopulationRule, ...]:
    """Who the answer means something for: the customers that a snapshot of this business holds."""
    names = {feature.name for feature in dataset.features}
    subscribed = project.tables.subscriptions is not None
    if not dataset.has_time_axis or subscribed or not {"recency_days", "frequency"} <= names:
        return ()
    return (
        PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=1.0),
        PopulationRule("recency_days", Status.INACTIVE, maximum=float(project.churn.active_days)),
    )


PIPELINE = ChurnPipeline()
"""Found by this name, as in every model's pipeline."""
