"""Churn, trained on what businesses have: a year of real baskets, a table with a column, subscriptions."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from features.project import Project, load_project
from model_registry.bundle import Bundle, read_bundle
from model_registry.gates import AuditRule
from model_registry.mlflow_registry import MlflowRegistry
from model_registry.promotion import Demands, promote
from model_registry.registry import CANDIDATE, CHAMPION
from model_registry.schema import Status
from model_registry.servable import Servable
from training.churn.pipeline import ChurnPipeline
from training.core.errors import TrainingError
from training.core.job import TrainingResult, train
from training.core.tracking import MlflowTracker

EXAMPLE = Path(__file__).parents[2] / "examples" / "complete_journey" / "regulars.toml"
AS_OF = dt.date(2017, 12, 31)
BUDGET_SECONDS = 40.0


def run(project: Project, folder: Path, as_of: dt.date | None = None) -> TrainingResult:
    uri = f"sqlite:///{folder}/mlflow.db"
    return train(ChurnPipeline(), project, MlflowRegistry(uri), MlflowTracker(uri), as_of=as_of)


def registry(folder: Path) -> MlflowRegistry:
    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db")


def bundle_of(result: TrainingResult, folder: Path, into: Path) -> Bundle:
    return read_bundle(registry(folder).download_bundle(result.version, into))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journey")


@pytest.fixture(scope="module")
def result(folder: Path) -> TrainingResult:
    return run(load_project(EXAMPLE), folder, AS_OF)


class TestCompleteJourney:
    def test_it_reaches_the_bar_and_is_not_too_good_to_be_true(self, result: TrainingResult) -> None:
        assert 0.86 <= result.metrics["auc"].estimate <= 0.885
        assert result.metrics["brier"].estimate <= 0.092
        assert result.others["recency"]["auc"].estimate == pytest.approx(0.800, abs=0.005)

    def test_it_beats_recency_and_is_not_worse_than_logistic_regression(self, result: TrainingResult) -> None:
        recency, logistic = result.baselines
        assert recency.difference.low > 0.03
        assert logistic.difference.low > -0.01

    def test_its_probabilities_are_at_the_level_of_what_happened(self, result: TrainingResult) -> None:
        for name in ("calibration_slope", "observed_expected"):
            assert 0.85 <= result.metrics[name].estimate <= 1.15

    def test_it_stands_at_its_date(self, result: TrainingResult) -> None:
        assert result.window.first_snapshot == "2017-05-05"
        assert result.window.last_snapshot == "2017-11-01"
        assert result.window.test_snapshot == "2017-12-01"
        assert result.horizon_days == 30

    def test_its_graph_is_certified(self, result: TrainingResult) -> None:
        assert result.evidence.parity.passed
        assert result.evidence.parity.largest < 1e-6

    def test_it_is_the_candidate(self, result: TrainingResult, folder: Path) -> None:
        candidate = registry(folder).resolve("churn", CANDIDATE)
        assert candidate is not None
        assert candidate.version == result.version.version
        assert candidate.metrics["auc"] == pytest.approx(result.metrics["auc"].estimate)

    def test_its_bundle_knows_its_population(self, result: TrainingResult, folder: Path, tmp_path: Path) -> None:
        bundle = bundle_of(result, folder, tmp_path)
        servable = Servable(bundle)
        servable.replay()
        names = [feature.name for feature in bundle.manifest.schema.numeric]
        columns = bundle.golden.columns.slice(0, 3)
        columns.numeric[1, names.index("recency_days")] = 91.0
        columns.numeric[2, names.index("frequency")] = 0.0
        statuses = servable.score(columns).statuses.tolist()
        assert statuses == [Status.OK, Status.INACTIVE, Status.INSUFFICIENT_HISTORY]

    def test_no_sensitive_attribute_is_an_input(self, result: TrainingResult, folder: Path, tmp_path: Path) -> None:
        project = load_project(EXAMPLE)
        assert project.tables.customers is not None
        inputs = {feature.name for feature in bundle_of(result, folder, tmp_path).manifest.schema.features}
        assert not inputs & set(project.tables.customers.sensitive)

    def test_all_of_it_within_the_budget(self, result: TrainingResult) -> None:
        assert sum(result.seconds.values()) < BUDGET_SECONDS

    def test_a_second_training_makes_the_same_graph_and_meets_the_champion(
        self, result: TrainingResult, folder: Path, tmp_path: Path
    ) -> None:
        assert promote(registry(folder), "churn", demands=Demands(AuditRule.OPTIONAL)).moved
        second = run(load_project(EXAMPLE), folder, AS_OF)
        assert second.evidence.champion_version == result.version.version
        assert second.champion is not None
        assert (second.champion.difference.low, second.champion.difference.high) == (0.0, 0.0)
        first_bundle = bundle_of(result, folder, tmp_path / "first")
        second_bundle = bundle_of(second, folder, tmp_path / "second")
        assert first_bundle.model == second_bundle.model
        assert first_bundle.manifest.dataset_digest == second_bundle.manifest.dataset_digest
        champion = registry(folder).resolve("churn", CHAMPION)
        assert champion is not None
        assert champion.version == result.version.version

    def test_too_short_a_history_is_refused(self, folder: Path) -> None:
        with pytest.raises(TrainingError, match="no training snapshot fits"):
            run(load_project(EXAMPLE), folder, dt.date(2017, 4, 15))

    def test_a_date_after_the_data_is_refused(self, folder: Path) -> None:
        with pytest.raises(TrainingError, match="have not closed"):
            run(load_project(EXAMPLE), folder, dt.date(2018, 3, 1))

    def test_a_feature_that_is_none_cannot_be_dropped(self, folder: Path) -> None:
        project = load_project(EXAMPLE)
        mistaken = replace(project, training=replace(project.training, drop_features=("recency_day",)))
        with pytest.raises(TrainingError, match="the nearest is recency_days"):
            run(mistaken, folder, AS_OF)


def subscribers(folder: Path) -> Project:
    """A thousand customers with a column that says who left, and one that was filled in when they did."""
    random = np.random.default_rng(3)
    months = random.integers(1, 72, 1000)
    plan = random.choice(["month", "year"], 1000)
    calls = np.where(random.random(1000) < 0.1, np.nan, random.poisson(2, 1000))
    margin = -0.8 - 0.04 * (months - 30) + 0.8 * (plan == "month") + 0.3 * np.nan_to_num(calls - 2)
    left = random.random(1000) < 1 / (1 + np.exp(-margin))
    table = pa.table(
        {
            "id": [f"customer {number}" for number in range(1000)],
            "months": months,
            "plan": plan.tolist(),
            "calls": pa.array(calls, from_pandas=True),
            "cancelled_for": np.where(left, random.integers(1, 5, 1000), 0),
            "gender": random.choice(["f", "m"], 1000).tolist(),
            "left": left,
        }
    )
    pacsv.write_csv(table, folder / "customers.csv")
    (folder / "regulars.toml").write_text(
        '[project]\nname = "Subscribers"\n[tables.customers]\nsource = "customers.csv"\ncustomer = "id"\n'
        'attributes = ["months", "plan", "calls", "cancelled_for"]\nsensitive = ["gender"]\nchurned = "left"\n'
    )
    return load_project(folder / "regulars.toml")


class TestAColumnThatSaysWhoLeft:
    """Contractual churn, observed, without a date."""

    def test_a_field_filled_in_afterwards_blocks_until_it_is_dropped(self, tmp_path: Path) -> None:
        project = subscribers(tmp_path)
        with pytest.raises(TrainingError, match=r"cancelled_for \(AUC 0\.99"):
            run(project, tmp_path)
        clean = replace(project, training=replace(project.training, drop_features=("cancelled_for",)))
        result = run(clean, tmp_path)
        assert 0.7 < result.metrics["auc"].estimate < 0.9
        assert [comparison.other for comparison in result.baselines] == ["logistic regression"]
        manifest = bundle_of(result, tmp_path, tmp_path / "bundle").manifest
        assert [feature.name for feature in manifest.schema.features] == ["months", "plan", "calls"]
        assert manifest.schema.population == ()
        assert (manifest.horizon_days, manifest.training_window.test_snapshot) == (0, "")
        assert result.training_rows + result.test_rows == 1000


class TestSubscriptionsThatEnd:
    """Contractual churn, dated: who has no subscription any more when the horizon closes."""

    def test_customers_who_order_less_end_sooner(self, tmp_path: Path) -> None:
        random = np.random.default_rng(5)
        begin = np.datetime64("2020-01-01")
        lasting = random.exponential(np.where(np.arange(3000) % 2, 900, 150)).astype(int) + 1
        orders: dict[str, list[object]] = {"who": [], "when": []}
        for number, days in enumerate(np.minimum(lasting, 366)):
            count = random.poisson(days / (10 if number % 2 else 30)) + 1
            orders["who"] += [number] * count
            orders["when"] += (begin + random.integers(0, days, count)).tolist()
        pacsv.write_csv(pa.table({**orders, "paid": np.ones(len(orders["who"]))}), tmp_path / "orders.csv")
        ends = [(begin + days).item() if days < 366 else None for days in lasting.tolist()]
        subscriptions = pa.table({"who": range(3000), "since": [begin.item()] * 3000, "until": ends})
        pacsv.write_csv(subscriptions, tmp_path / "subscriptions.csv")
        (tmp_path / "regulars.toml").write_text(
            '[project]\nname = "Club"\n[tables.transactions]\nsource = "orders.csv"\ncustomer = "who"\ntime = "when"\n'
            'amount = "paid"\nduplicates = "keep"\n'
            '[tables.subscriptions]\nsource = "subscriptions.csv"\ncustomer = "who"\nstart = "since"\nend = "until"\n'
            "[churn]\nhorizon_days = 30\nactive_days = 60\n"
        )
        result = run(load_project(tmp_path / "regulars.toml"), tmp_path, dt.date(2020, 12, 31))
        assert result.metrics["auc"].estimate > 0.6
        assert result.window.test_snapshot == "2020-12-01"
        assert bundle_of(result, tmp_path, tmp_path / "bundle").manifest.schema.population == ()
