"""Lifetime value: how much revenue a customer brings within the horizon, and between which bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from features.horizon import cltv_horizon
from features.labels import outcomes
from features.tables import open_tables
from model_registry.schema import Band, Output, PopulationRule, Schema, Status
from training.cltv.judge import judge_values
from training.cltv.regressor import INTERVAL_LEVEL, tune
from training.core.amounts import Foreseen
from training.core.booster import thresholds
from training.core.dataset import design_matrix
from training.core.eligibility import (
    MINIMUM_TEST,
    MINIMUM_TRAINING,
    MORE,
    require_customers,
    require_history,
    require_repeat_buyers,
    require_revenue,
)
from training.core.graph import amounts_graph
from training.core.pipeline import Fitted
from training.core.reference import quantiles
from training.core.snapshots import History, Question, dated_dataset

if TYPE_CHECKING:
    import datetime as dt

    import ibis
    from numpy.typing import NDArray

    from features.project import Project
    from features.tables import CustomerTables
    from model_registry.columns import Columns
    from training.core.champion import Champion
    from training.core.dataset import Dataset, Rows
    from training.core.pipeline import Judgement, Progress, Scores

LABEL = "revenue"
EXPECTED, LOWER, UPPER = OUTPUTS = ("expected_value", "lower_bound", "upper_bound")
REMEDY = f"check tables.transactions.amount, lengthen cltv.horizon_days, or {MORE}"
LEVEL_CONSTANT = "interval_level"
TIERS = {"MEDIUM": 50, "HIGH": 80, "TOP": 95}
"""Percentiles from which a tier begins; LOW lies below. TOP is one in twenty, few enough for a person to know; with
HIGH it is the fifth that brings most of the money."""


@dataclass(frozen=True, kw_only=True)
class FittedValue(Fitted):
    """Knows the coverage of customers who were held out in training, and the unit of the amounts."""

    coverage: float
    unit: str


class CltvPipeline:
    """Implements `Pipeline`: a Tweedie booster between two quantile boosters over behaviour features."""

    name = "cltv"

    def dataset(self, project: Project, as_of: dt.date | None) -> Dataset:
        """Everybody with an order before each snapshot, and the revenue that followed."""
        tables = open_tables(project)
        history = History.of(tables, as_of)
        require_history(history.days)
        days = cltv_horizon(project.cltv, history.days)

        def answers(tables: CustomerTables, date: dt.date) -> ibis.Table:
            return outcomes(tables, date, horizon_days=days)

        question = Question(days, "cltv.horizon_days", (LABEL,), answers, across_customers=True, amounts=True)
        dataset = dated_dataset(project, tables, history, question)
        require_customers("training part", dataset.train)
        require_repeat_buyers("training part", dataset.train, dataset.features)
        require_revenue("newest training snapshot", _newest(dataset.train), LABEL, MINIMUM_TRAINING, remedy=REMEDY)
        require_revenue("test part", dataset.test, LABEL, MINIMUM_TEST, remedy=REMEDY)
        return dataset

    def fit(self, dataset: Dataset, project: Project, champion: Champion, progress: Progress) -> FittedValue:  # noqa: ARG002 - values start anew every time
        """Tunes, levels, bounds and exports.

        The test part has no say in the trees, their level, the bounds and the tiers. It only lends its scores as the
        reference that percentiles are read off.
        """
        tuned = tune(dataset.train, dataset.features, LABEL, progress)
        amounts, unit = tuned.amounts, project.currency
        reference = amounts.foreseen(design_matrix(dataset.test.columns, dataset.features)).expected
        schema = Schema(
            dataset.features,
            (
                Output(EXPECTED, unit, tiers(tuned.held_out), quantiles(reference)),
                Output(LOWER, unit),
                Output(UPPER, unit),
            ),
            _population(dataset),
        )

        def native(columns: Columns) -> dict[str, NDArray[np.float64]]:
            foreseen = amounts.foreseen(design_matrix(columns, dataset.features))
            return dict(zip(OUTPUTS, (foreseen.expected, foreseen.lower, foreseen.upper), strict=True))

        return FittedValue(
            schema=schema,
            graph=amounts_graph(schema, amounts),
            native=native,
            thresholds=thresholds(*(line.booster for line in (amounts.expected, amounts.lower, amounts.upper))),
            parameters=tuned.parameters,
            importances=tuned.importances,
            constants={LEVEL_CONSTANT: INTERVAL_LEVEL},
            coverage=tuned.coverage,
            unit=unit,
        )

    def judge(self, dataset: Dataset, fitted: FittedValue, scores: Scores, champion: Champion) -> Judgement:
        """Against the spend rate, MBG/NBD and the champion."""
        foreseen = Foreseen(*(scores[name].astype(np.float64) for name in OUTPUTS))
        reigning = champion.scores[EXPECTED] if champion.scores else None
        return judge_values(dataset, LABEL, foreseen, fitted.coverage, reigning, fitted.unit)


def tiers(expected: NDArray[np.float64]) -> tuple[Band, ...]:
    """Bands that hold fixed shares of the customers; `expected` are the values (N,) of those held out."""
    bands = [Band("LOW", 0.0)]
    for name, percent in TIERS.items():
        # Where many are worth the same, a tier begins just above the one below it.
        least = np.nextafter(np.float32(bands[-1].threshold), np.float32(np.inf))
        bands.append(Band(name, float(max(np.float32(np.percentile(expected, percent)), least))))
    return tuple(bands)


def _newest(rows: Rows) -> Rows:
    return rows.at(rows.dates == rows.dates.max())


def _population(dataset: Dataset) -> tuple[PopulationRule, ...]:
    """Who the answer means something for: whoever has ordered."""
    if all(feature.name != "frequency" for feature in dataset.features):
        return ()
    return (PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=1.0),)


PIPELINE = CltvPipeline()
"""Found by this name, as in every model's pipeline."""
