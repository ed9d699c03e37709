"""Clustering: which of a few durable segments a customer belongs to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from features.horizon import churn_horizon
from features.labels import outcomes
from features.tables import open_tables
from model_registry.columns import Columns
from model_registry.schema import Band, Output, PopulationRule, Schema, Status
from training.clustering.centroids import midway, nearest
from training.clustering.choice import SEED, candidates, choose
from training.clustering.fifths import SCORES, Fifths
from training.clustering.graph import segment_graph
from training.clustering.judge import judge_segments
from training.clustering.lineage import HIGHEST, Lineage, Reign
from training.clustering.model import CLUSTER, DISTANCE, RUNNER_UP, RUNNER_UP_DISTANCE, SegmentModel
from training.clustering.names import freshness, personas
from training.clustering.portraits import PURCHASED, REVENUE, last_snapshot
from training.clustering.space import FEATURES, FREQUENCY, MONETARY, RECENCY, Space
from training.core.eligibility import require_customers, require_repeat_buyers
from training.core.errors import TrainingError
from training.core.pipeline import Fitted
from training.core.snapshots import History, Question, dated_dataset

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    import ibis
    from numpy.typing import NDArray

    from features.project import Project
    from features.tables import CustomerTables
    from training.clustering.choice import Candidate
    from training.clustering.names import Persona
    from training.core.champion import Champion
    from training.core.dataset import Dataset, Rows
    from training.core.pipeline import Judgement, Progress, Scores

FIT_ROWS = 20_000
"""Rows that centroids are fitted on; more of them would move the centroids by less than a month does."""

UNUSUAL_PERCENT = 99.0
"""One in a hundred is further from its centroid: few enough to look at one by one."""

BORDER_ROWS = 500
BORDER_STEP = 1e-4
"""How far beside a border, in parts of the way between its two centroids. On the border itself the last bit of a
logarithm decides, and either answer is right; a ten-thousandth beside it only one is."""


@dataclass(frozen=True, kw_only=True)
class Segmentation(Fitted):
    """A fitted segmentation: what was tried, where its segments come from and what they are called, by place.

    `story` tells what became of the champion's segments; a customer is unusual at a distance of `unusual_from`.
    """

    model: SegmentModel
    tried: tuple[Candidate, ...]
    chosen: Candidate
    lineage: Lineage
    personas: tuple[Persona, ...]
    story: tuple[str, ...]
    unusual_from: float
    currency: str


class ClusteringPipeline:
    """Implements `Pipeline`: k-means on recency, frequency and monetary value."""

    name = "clustering"

    def dataset(self, project: Project, as_of: dt.date | None) -> Dataset:
        """Everybody with an order before each snapshot, and what they did in the horizon after it.

        The horizon is churn's, so that silence means the same. The outcomes say what each segment did next. Nothing is
        learnt from them, so the training part carries none.
        """
        _require_features(project)
        tables = open_tables(project)
        history = History.of(tables, as_of)
        days = churn_horizon(project.churn, tables, as_of)

        def answers(tables: CustomerTables, date: dt.date) -> ibis.Table:
            return outcomes(tables, date, horizon_days=days).select("customer", PURCHASED, REVENUE)

        question = Question(days, "churn.horizon_days", (PURCHASED, REVENUE), answers, features=FEATURES)
        dataset = dated_dataset(project, tables, history, question)
        for part, rows in (("training part", dataset.train), ("test part", dataset.test)):
            require_customers(part, rows)
            require_repeat_buyers(part, rows, dataset.features)
        return replace(dataset, train=replace(dataset.train, labels={}))

    def fit(self, dataset: Dataset, project: Project, champion: Champion, progress: Progress) -> Segmentation:
        """Chooses the number of segments, fits them on all training snapshots, and finds the champion's among them.

        The test part has no say in where the segments lie. It only lends its customers to tell which old segment
        each new one is.

        Raises:
            NotEligibleError: no number of segments is stable and balanced enough.
        """
        rows = _sampled(dataset.train)
        now = last_snapshot(rows)
        space = Space.of(rows.columns.numeric, dataset.horizon_days)
        coordinates = space.coordinates(rows.columns.numeric)
        reign = Reign.of(champion)
        tried = tuple(candidates(coordinates, rows.customer_ids, now, progress))
        chosen = choose(tried, reigning=len(reign.names) if reign else None)
        lineage = _lineage(chosen, space.coordinates(dataset.test.columns.numeric), reign)
        fifths = Fifths.of(dataset.train.columns.numeric[last_snapshot(dataset.train)])
        model = SegmentModel(space, chosen.centroids, lineage.ids, fifths)
        former = reign.names if reign else {}
        characters = _characters(model, rows.columns.numeric[now], dataset.horizon_days, former)
        story = lineage.story([one.name for one in characters], former)
        unusual_from = _unusual_from(nearest(coordinates[now], chosen.centroids).distance)
        schema = Schema(dataset.features, _outputs(lineage.ids, characters, unusual_from), POPULATION)
        return Segmentation(
            schema=schema,
            graph=segment_graph(schema, model),
            native=model.scores,
            thresholds=dict(enumerate(fifths.limits)),
            parameters={"segments": chosen.k, **{f"tried_{one.k}": str(one) for one in tried}},
            importances={},
            constants={HIGHEST: float(lineage.highest)},
            hard_rows=_border_rows(model, dataset.test.columns),
            warnings=(*_warnings(champion), *story),
            model=model,
            tried=tried,
            chosen=chosen,
            lineage=lineage,
            personas=characters,
            story=story,
            unusual_from=unusual_from,
            currency=project.currency,
        )

    def judge(self, dataset: Dataset, fitted: Segmentation, scores: Scores, champion: Champion) -> Judgement:
        """Against the sum of the fifths and the champion."""
        return judge_segments(dataset, fitted, scores, Reign.of(champion))


POPULATION = (PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=1.0),)
"""Whoever ordered: who has not has no recency."""


def _require_features(project: Project) -> None:
    dropped = [name for name in FEATURES if name in project.training.drop_features]
    if dropped:
        raise TrainingError(
            f"{project.file}: training.drop_features names {', '.join(dropped)}, and clustering is made of "
            f"{', '.join(FEATURES)}; take it off the list"
        )


def _sampled(rows: Rows) -> Rows:
    """All, or random customers with all their snapshots, about `FIT_ROWS` of them."""
    if len(rows) <= FIT_ROWS:
        return rows
    names, customers = np.unique(rows.customer_ids, return_inverse=True)
    drawn = np.random.default_rng(SEED).random(len(names)) < FIT_ROWS / len(rows)
    return rows.at(drawn[customers])


def _lineage(chosen: Candidate, test: NDArray[np.float64], reign: Reign | None) -> Lineage:
    if reign is None:
        return Lineage.first(chosen.k)
    return Lineage.after(reign, nearest(test, chosen.centroids).own, chosen.k)


def _characters(
    model: SegmentModel, numeric: NDArray[np.float32], horizon_days: int, former: Mapping[int, str]
) -> tuple[Persona, ...]:
    """What the segments are called, by place, told by customers (N, F); `former` are the champion's names by id."""
    scores = model.fifths.scores(numeric)
    fresh = freshness(numeric[:, RECENCY] / horizon_days)
    # Where everybody spent the same, money says what orders say.
    money = MONETARY if model.space.weights[MONETARY] else FREQUENCY
    figures = np.column_stack([fresh, scores[:, FREQUENCY], scores[:, money]])
    segments = model.segments(numeric)
    profiles = np.stack([figures[segments == place].mean(axis=0) for place in range(len(model.ids))])
    return personas(profiles, {place: former[number] for place, number in enumerate(model.ids) if number in former})


def _unusual_from(distances: NDArray[np.float64]) -> float:
    # Where all stand on their centroids, whoever does not is unusual; bands must ascend.
    return max(float(np.percentile(distances, UNUSUAL_PERCENT)), float(np.finfo(np.float32).tiny))


def _outputs(ids: tuple[int, ...], characters: tuple[Persona, ...], unusual_from: float) -> tuple[Output, ...]:
    named = sorted(zip(ids, characters, strict=True))
    return (
        Output(CLUSTER, "cluster", tuple(Band(persona.name, float(number)) for number, persona in named)),
        Output(DISTANCE, "scaled units", (Band("USUAL", 0.0), Band("UNUSUAL", unusual_from))),
        Output(RUNNER_UP, "cluster"),
        Output(RUNNER_UP_DISTANCE, "scaled units"),
        *(Output(name, "quintile") for name in SCORES),
    )


def _border_rows(model: SegmentModel, columns: Columns) -> Columns:
    """Customers of the test part, moved to either side of the border to their second nearest segment."""
    coordinates = model.space.coordinates(columns.slice(0, BORDER_ROWS).numeric)
    numeric = model.space.customers_at(midway(coordinates, model.centroids, BORDER_STEP))
    return Columns(numeric, np.empty((len(numeric), 0), object))


def _warnings(champion: Champion) -> tuple[str, ...]:
    if champion.version and champion.scores is None:
        return ("The champion could not be asked, so segment ids begin anew and do not continue its own.",)
    return ()


PIPELINE = ClusteringPipeline()
"""Found by this name, as in every model's pipeline."""
