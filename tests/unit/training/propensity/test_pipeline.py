"""Propensity on a market whose truth is known: each head says it, and a head that cannot is left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from sklearn.metrics import roc_auc_score

from features.project import Project, load_project
from model_registry.bundle import Bundle, Golden, Manifest, TrainingWindow, read_bundle
from model_registry.schema import PopulationRule, Status
from model_registry.servable import Servable
from tests.fakes.registry import FakeRegistry, FolderTracker
from tests.support.market import AS_OF, HORIZON, Market, open_market
from training.core.champion import Champion
from training.core.errors import NotEligibleError, TrainingError
from training.core.graph import TREES
from training.core.job import TrainingResult, train
from training.core.parity import awkward_rows, certify
from training.propensity.pipeline import PIPELINE, FittedPropensity, PropensityPipeline

if TYPE_CHECKING:
    import datetime as dt

    from model_registry.columns import Columns
    from training.core.dataset import Dataset
    from training.core.pipeline import Progress

PURCHASE = "purchase_probability"
LABELS = {
    PURCHASE: "purchased",
    f"{PURCHASE}[bread]": "purchased[bread]",
    f"{PURCHASE}[cheese]": "purchased[cheese]",
    f"{PURCHASE}[wine]": "purchased[wine]",
    "response_probability": "responded",
}
"""What is served, with the label of each output. Caviar is too rare."""


class KeepingPipeline(PropensityPipeline):
    """Keeps what it hands to the job."""

    data: Dataset
    fitted: FittedPropensity

    def dataset(self, project: Project, as_of: dt.date | None) -> Dataset:
        self.data = super().dataset(project, as_of)
        return self.data

    def fit(self, dataset: Dataset, project: Project, champion: Champion, progress: Progress) -> FittedPropensity:
        self.fitted = super().fit(dataset, project, champion, progress)
        return self.fitted


@dataclass(frozen=True)
class Trained:
    """A training through the job, and what it was made of."""

    market: Market
    project: Project
    result: TrainingResult
    bundle: Bundle
    data: Dataset
    fitted: FittedPropensity

    def scores(self, columns: Columns) -> dict[str, np.ndarray]:
        return dict(zip(LABELS, Servable(self.bundle).run(columns), strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("market")
    market = open_market(folder)
    project = load_project(market.project)
    registry = FakeRegistry(tracker := FolderTracker(folder / "runs"))
    pipeline = KeepingPipeline()
    result = train(pipeline, project, registry, tracker, as_of=AS_OF)
    bundle = read_bundle(registry.download_bundle(result.version, folder / "download"))
    return Trained(market, project, result, bundle, pipeline.data, pipeline.fitted)


def column(trained: Trained, name: str) -> int:
    return [feature.name for feature in trained.bundle.manifest.schema.numeric].index(name)


class TestTheBundle:
    def test_it_says_a_purchase_first_then_the_categories_then_a_response(self, trained: Trained) -> None:
        outputs = trained.bundle.manifest.schema.outputs
        assert [output.name for output in outputs] == list(LABELS)
        assert {output.unit for output in outputs} == {"probability"}
        assert [output.category for output in outputs] == ["", "bread", "cheese", "wine", ""]
        assert [bool(output.reference) for output in outputs] == [True, False, False, False, False]
        assert trained.bundle.manifest.horizon_days == HORIZON

    def test_all_heads_share_the_features_of_categories(self, trained: Trained) -> None:
        names = {feature.name for feature in trained.bundle.manifest.schema.features}
        assert {"recency_days", "recency_days[cheese]", "days_180d[wine]", "responses_90d"} <= names
        assert {target.recency for target in trained.fitted.parts} <= names

    def test_whoever_has_ordered_is_scored_however_long_ago(self, trained: Trained) -> None:
        columns = trained.bundle.golden.columns.slice(0, 3)
        columns.numeric[1, column(trained, "recency_days")] = 150.0
        columns.numeric[2, column(trained, "frequency")] = 0.0
        statuses = Servable(trained.bundle).score(columns).statuses.tolist()
        assert statuses == [Status.OK, Status.OK, Status.INSUFFICIENT_HISTORY]

    def test_everybody_who_had_ordered_is_in_the_test_part(self, trained: Trained) -> None:
        recency = trained.data.test.columns.numeric[:, column(trained, "recency_days")]
        assert recency.max() > trained.project.churn.active_days


class TestTheHeads:
    @pytest.mark.parametrize("output", LABELS)
    def test_each_says_the_truth(self, trained: Trained, output: str) -> None:
        said = trained.scores(trained.data.test.columns)[output]
        truth = trained.market.truth(LABELS[output], trained.data.test.customer_ids)
        assert np.corrcoef(said, truth)[0, 1] > 0.85
        assert np.abs(said - truth).mean() < 0.1
        assert said.mean() == pytest.approx(truth.mean(), rel=0.2)

    def test_each_category_has_its_own_customers(self, trained: Trained) -> None:
        said = trained.scores(trained.data.test.columns)
        likes = {
            name: trained.market.truth(f"purchased[{name}]", trained.data.test.customer_ids) > 0
            for name in ("cheese", "wine")
        }
        for mine, other in (("cheese", "wine"), ("wine", "cheese")):
            lead = said[f"{PURCHASE}[{mine}]"] - said[f"{PURCHASE}[{other}]"]
            assert roc_auc_score(likes[mine], lead) > 0.95

    def test_no_category_is_likelier_than_a_purchase(self, trained: Trained) -> None:
        kinds = awkward_rows(trained.fitted.schema, trained.data.test.columns, trained.fitted.thresholds)
        for _, columns in kinds:
            said = trained.scores(columns)
            for output in trained.fitted.schema.outputs:
                if output.category:
                    assert (said[output.name] <= said[PURCHASE]).all()

    def test_bread_is_in_most_baskets_and_meets_its_cap(self, trained: Trained) -> None:
        said = trained.scores(trained.data.test.columns)
        met = said[f"{PURCHASE}[bread]"] == said[PURCHASE]
        assert met.any()
        assert not met.all()


class TestTheCertificate:
    def test_the_graph_is_the_native_model(self, trained: Trained) -> None:
        assert trained.result.evidence.parity.largest < 1e-6

    @pytest.mark.parametrize("output", LABELS)
    def test_it_stands_on_the_thresholds_of_every_head(self, trained: Trained, output: str) -> None:
        """A head that splits strictly is wrong on its thresholds alone."""
        model = onnx.load_from_string(trained.fitted.graph)
        for node in model.graph.node:
            if node.op_type == TREES and node.name.startswith(f"{output}_trees"):
                modes = next(one for one in node.attribute if one.name == "nodes_modes").strings
                modes[:] = [b"BRANCH_LT" if mode == b"BRANCH_LEQ" else mode for mode in modes]
        manifest = Manifest("propensity", trained.fitted.schema, HORIZON, TrainingWindow(), {}, "", "", "", "")
        nothing = Golden(trained.data.test.columns.slice(0, 0), {})
        wrong = Servable(Bundle(manifest, model.SerializeToString(), nothing, ""))
        with pytest.raises(TrainingError, match="either side of every threshold"):
            certify(wrong, trained.fitted, trained.data.test.columns)


class TestTheJudgement:
    def test_every_head_must_beat_its_own_rule(self, trained: Trained) -> None:
        assert [(one.other, one.metric) for one in trained.result.baselines] == [
            ("recency", "auc"),
            ("logistic regression", "auc"),
            ("recency of bread", "auc[bread]"),
            ("recency of cheese", "auc[cheese]"),
            ("recency of wine", "auc[wine]"),
            ("recency of responses", "auc[responses]"),
        ]
        # Rates that never change are what logistic regression describes best, so that one may go either way.
        assert all(one.passed for one in trained.result.baselines if one.other != "logistic regression")

    def test_the_shorter_ago_the_likelier(self, trained: Trained) -> None:
        assert trained.result.others["recency"]["auc"].estimate > 0.6

    def test_the_level_is_required_of_the_purchase(self, trained: Trained) -> None:
        (level,) = trained.result.evidence.requirements
        assert (level.metric, level.passed) == ("observed_expected", True)

    def test_a_rare_category_is_left_out_with_its_figures(self, trained: Trained) -> None:
        (warning,) = trained.result.warnings
        assert warning.startswith("caviar: left out of the model, because the training part holds ")
        assert "with the outcome 'purchased[caviar]'" in warning
        assert "needs 100 of each; change propensity.horizon_days, or train again when there is more data" in warning
        assert "auc[caviar]" not in trained.result.metrics

    def test_a_champion_of_other_categories_is_compared_by_the_purchase(self, trained: Trained) -> None:
        scores = trained.scores(trained.data.test.columns)
        older = Champion("1", {PURCHASE: scores[PURCHASE], f"{PURCHASE}[fish]": scores[PURCHASE]})
        judgement = PIPELINE.judge(trained.data, trained.fitted, scores, older)
        assert judgement.champion is not None
        assert (judgement.champion.metric, judgement.champion.difference.estimate) == ("auc", 0.0)


class TestWhatIsLeftOut:
    def test_a_part_that_is_chance_and_the_others_go_on(self, trained: Trained) -> None:
        random = np.random.default_rng(5)
        train, test = (
            replace(
                rows, labels={**rows.labels, "purchased[wine]": (random.random(len(rows)) < 0.3).astype(np.float32)}
            )
            for rows in (trained.data.train, trained.data.test)
        )
        data = replace(trained.data, train=train, test=test)
        fitted = PIPELINE.fit(data, trained.project, Champion(), lambda _: None)
        assert [target.subject for target in fitted.parts] == ["bread", "cheese", "responses"]
        (warning,) = fitted.warnings
        assert warning.startswith("wine: left out of the model, because ")

    def test_without_categories_and_responses_there_is_the_purchase_alone(self, trained: Trained) -> None:
        project = replace(
            trained.project,
            propensity=replace(trained.project.propensity, categories=()),
            tables=replace(trained.project.tables, responses=None),
            training=replace(trained.project.training, drop_features=("frequency",)),
        )
        data = PIPELINE.dataset(project, AS_OF)
        fitted = PIPELINE.fit(data, project, Champion(), lambda _: None)
        assert [output.name for output in fitted.schema.outputs] == [PURCHASE]
        assert fitted.schema.population == ()
        scores = {PURCHASE: fitted.native(data.test.columns)[PURCHASE].astype(np.float32)}
        judgement = PIPELINE.judge(data, fitted, scores, Champion())
        assert not any("[" in name for name in judgement.metrics)
        assert [one.other for one in judgement.baselines] == ["recency", "logistic regression"]


class TestRefusals:
    def test_a_category_that_nobody_ordered(self, trained: Trained) -> None:
        project = replace(trained.project, propensity=replace(trained.project.propensity, categories=("wine", "Chese")))
        told = r"propensity\.categories names 'Chese', which no order is of; the nearest are: cheese"
        with pytest.raises(TrainingError, match=told):
            PIPELINE.dataset(project, AS_OF)

    @pytest.mark.parametrize(
        ("days", "told"),
        [
            (60, r"a horizon of 60 days needs 180; shorten propensity\.horizon_days"),
            (50, r"'purchased' and \d\d without it, and needs 100 of each; change propensity\.horizon_days"),
        ],
    )
    def test_a_horizon_that_leaves_too_little(self, trained: Trained, days: int, told: str) -> None:
        project = replace(trained.project, propensity=replace(trained.project.propensity, horizon_days=days))
        with pytest.raises(NotEligibleError, match=told):
            PIPELINE.dataset(project, AS_OF)


def test_whoever_has_ordered_is_the_population(trained: Trained) -> None:
    rule = PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=1.0)
    assert trained.bundle.manifest.schema.population == (rule,)
