"""The job: all of it or nothing, with a small pipeline on data in memory and a registry in a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pytest

from features.project import Project, load_project
from features.specs import FeatureSpec
from model_registry.bundle import TrainingWindow, read_bundle
from model_registry.page import estimate
from model_registry.registry import CANDIDATE, CHAMPION
from model_registry.schema import Output, Schema
from model_registry.servable import Servable
from tests.fakes.registry import FakeRegistry, FolderTracker
from tests.support.learning import DATES, HORIZON, LABEL, SPECS, customers, dataset
from tests.support.pages import flaws
from training.core.artifacts import CARD_FILE
from training.core.booster import thresholds
from training.core.classifier import tune
from training.core.dataset import Rows, design_matrix, make_dataset, rows_from_arrow
from training.core.draft import code_digest
from training.core.errors import TrainingError
from training.core.graph import probability_graph
from training.core.job import train
from training.core.judge import judge_classifier
from training.core.pipeline import Fitted
from training.core.sample import Sample

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from model_registry.columns import Columns
    from training.core.champion import Champion
    from training.core.dataset import Dataset
    from training.core.pipeline import Judgement, Progress, Scores

OUTPUT = "churn_probability"


@dataclass
class SmallPipeline:
    """Implements `training.core.pipeline.Pipeline`; `native_shift` makes a graph that is wrong by that much."""

    data: Dataset
    native_shift: float = 0.0
    name: str = "churn"

    def dataset(self, project: Project, as_of: dt.date | None) -> Dataset:
        return self.data

    def fit(self, dataset: Dataset, project: Project, champion: Champion, progress: Progress) -> Fitted:
        tuned = tune(dataset.train, dataset.features, LABEL, HORIZON, progress)
        schema = Schema(dataset.features, (Output(OUTPUT, "probability"),))

        def native(columns: Columns) -> dict[str, np.ndarray]:
            return {OUTPUT: tuned.model.probabilities(design_matrix(columns, dataset.features)) + self.native_shift}

        return Fitted(
            schema=schema,
            graph=probability_graph(schema, {OUTPUT: tuned.model}),
            native=native,
            thresholds=thresholds(tuned.model.booster),
            parameters=tuned.parameters,
            importances=tuned.importances,
        )

    def judge(self, dataset: Dataset, fitted: Fitted, scores: Scores, champion: Champion) -> Judgement:
        return judge_classifier(dataset, LABEL, scores[OUTPUT], champion.scores[OUTPUT] if champion.scores else None)


@dataclass
class Desk:
    """What a training needs, in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.tracker = FolderTracker(self.folder / "runs")
        self.registry = FakeRegistry(self.tracker)

    def project(self, settings: str = "") -> Project:
        file = self.folder / "regulars.toml"
        file.write_text(
            '[project]\nname = "Small"\n[tables.transactions]\nsource = "t.csv"\ncustomer = "c"\ntime = "t"\n'
            f'amount = "a"\n[training]\n{settings}'
        )
        return load_project(file)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def with_copy_of_the_label(data: Dataset) -> Dataset:
    leaky = data.train.columns.numeric.copy()
    leaky[:, 1] = data.train.labels[LABEL]
    return replace(data, train=replace(data.train, columns=replace(data.train.columns, numeric=leaky)))


def test_a_training_leaves_a_candidate_whose_bundle_scores_as_judged(desk: Desk, tmp_path: Path) -> None:
    lines: list[str] = []
    data = dataset()
    result = train(SmallPipeline(data), desk.project(), desk.registry, desk.tracker, progress=lines.append)

    candidate = desk.registry.resolve("churn", CANDIDATE)
    assert candidate is not None
    assert (candidate.version, candidate.digest) == (result.version.version, result.evidence.bundle_digest)
    assert desk.registry.resolve("churn", CHAMPION) is None

    bundle = read_bundle(desk.registry.download_bundle(candidate, tmp_path / "download"))
    assert bundle.digest == result.evidence.bundle_digest
    assert bundle.manifest.metrics["auc"] == result.metrics["auc"].estimate
    assert bundle.manifest.run_id == candidate.run_id
    assert bundle.manifest.dataset_digest == data.digest
    assert bundle.manifest.horizon_days == HORIZON
    assert bundle.manifest.training_window.test_snapshot == "2017-06-01"
    Servable(bundle).replay()

    assert desk.registry.evidence(candidate) == result.evidence
    assert result.evidence.parity.passed
    assert [comparison.other for comparison in result.baselines] == ["recency", "logistic regression"]
    assert result.champion is None
    assert {"read snapshots", "fit", "certify the graph", "judge", "register"} <= set(lines)
    assert set(result.seconds) <= set(lines)
    assert (result.training_rows, result.test_rows) == (1800, 600)


def test_the_run_has_figures_papers_and_no_names(desk: Desk) -> None:
    result = train(SmallPipeline(dataset()), desk.project(), desk.registry, desk.tracker)
    record = desk.tracker.records[result.version.run_id]
    assert record.metrics["auc"] == result.metrics["auc"].estimate
    assert record.metrics["auc_low"] < record.metrics["auc"] < record.metrics["auc_high"]
    assert record.metrics["recency/auc"] == result.others["recency"]["auc"].estimate
    assert record.metrics["recency/auc_difference"] == result.baselines[0].difference.estimate
    assert record.parameters["test_snapshot"] == "2017-06-01"
    assert len(record.example) == 5

    run = desk.tracker.root / result.version.run_id
    assert sorted(path.name for path in run.iterdir()) == [
        "bundle",
        "champion_comparison.json",
        "evidence.json",
        "model_card.html",
        "parity.json",
        "plots",
    ]
    written = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert b"c00001" not in written, "a customer's id left the house"


def test_the_model_card_tells_all_and_loads_nothing(desk: Desk) -> None:
    result = train(SmallPipeline(dataset()), desk.project(), desk.registry, desk.tracker)
    card = (desk.tracker.root / result.version.run_id / CARD_FILE).read_text()
    for told in (
        estimate(result.metrics["auc"]),
        "logistic regression",
        "2017-06-01",
        "recency_days",
        "Gains",
        "Limits",
    ):
        assert told in card
    assert flaws(card) == []


def test_a_wrong_graph_registers_nothing_and_its_run_says_why(desk: Desk) -> None:
    with pytest.raises(TrainingError, match="nothing was registered"):
        train(SmallPipeline(dataset(), native_shift=1e-4), desk.project(), desk.registry, desk.tracker)
    assert desk.registry.versions("churn") == []
    assert desk.tracker.records == {}
    (failure,) = desk.tracker.failures.values()
    assert "deviates" in failure


def test_a_leak_blocks_until_it_is_acknowledged(desk: Desk) -> None:
    pipeline = SmallPipeline(with_copy_of_the_label(dataset()))
    with pytest.raises(TrainingError, match=r"spend \(AUC 1\.000"):
        train(pipeline, desk.project(), desk.registry, desk.tracker)
    assert desk.registry.versions("churn") == []
    result = train(pipeline, desk.project('acknowledge_leaks = ["spend"]'), desk.registry, desk.tracker)
    assert any("spend alone" in warning and "acknowledged" in warning for warning in result.warnings)


def test_a_second_training_is_compared_with_the_champion(desk: Desk) -> None:
    first = train(SmallPipeline(dataset()), desk.project(), desk.registry, desk.tracker)
    desk.registry.point("churn", CHAMPION, first.version.version)
    second = train(SmallPipeline(dataset()), desk.project(), desk.registry, desk.tracker)
    assert second.evidence.champion_version == first.version.version
    assert second.champion is not None
    assert (second.champion.difference.low, second.champion.difference.high) == (0.0, 0.0)
    assert second.warnings == ()
    assert second.version.version != first.version.version


def test_a_champion_whose_features_are_gone_is_not_compared_but_named(desk: Desk) -> None:
    first = train(SmallPipeline(dataset()), desk.project(), desk.registry, desk.tracker)
    desk.registry.point("churn", CHAMPION, first.version.version)
    data = dataset()
    poorer = replace(data, test_table=data.test_table.drop_columns(["gap_days"]))
    result = train(SmallPipeline(poorer), desk.project(), desk.registry, desk.tracker)
    assert result.champion is None
    assert result.evidence.champion_version == first.version.version
    assert any("version 1" in warning and "gap_days" in warning for warning in result.warnings)


def test_a_champion_that_knows_the_answers_is_compared_but_not_in_silence(desk: Desk) -> None:
    data = dataset()
    later = replace(data, window=replace(data.window, last_snapshot=data.window.test_snapshot))
    first = train(SmallPipeline(later), desk.project(), desk.registry, desk.tracker)
    desk.registry.point("churn", CHAMPION, first.version.version)
    result = train(SmallPipeline(data), desk.project(), desk.registry, desk.tracker)
    assert result.champion is not None
    assert any("knew answers" in warning for warning in result.warnings)


def test_a_champion_whose_labels_closed_after_the_test_snapshot_knew_answers(desk: Desk) -> None:
    data = dataset()
    later = replace(data, window=replace(data.window, last_snapshot="2017-05-03"))
    first = train(SmallPipeline(later), desk.project(), desk.registry, desk.tracker)
    desk.registry.point("churn", CHAMPION, first.version.version)
    result = train(SmallPipeline(data), desk.project(), desk.registry, desk.tracker)
    assert any("knew answers" in warning for warning in result.warnings)


def test_a_champion_that_is_not_the_registered_bundle_is_not_compared(desk: Desk) -> None:
    first = train(SmallPipeline(dataset()), desk.project(), desk.registry, desk.tracker)
    desk.registry.add("9", "another digest", bundle=desk.tracker.root / first.version.run_id / "bundle")
    desk.registry.point("churn", CHAMPION, "9")
    result = train(SmallPipeline(dataset()), desk.project(), desk.registry, desk.tracker)
    assert result.champion is None
    assert any("not the bundle that was registered" in warning for warning in result.warnings)


def test_the_text_of_a_library_stays_out_of_the_run(desk: Desk) -> None:
    class Broken(SmallPipeline):
        def fit(self, dataset: Dataset, project: Project, champion: Champion, progress: Progress) -> Fitted:
            raise ValueError("could not convert string to float: 'Alice'")

    with pytest.raises(ValueError, match="Alice"):
        train(Broken(dataset()), desk.project(), desk.registry, desk.tracker)
    assert list(desk.tracker.failures.values()) == ["ValueError"]


def with_feature(values: Callable[[pa.Table], list[object]], kind: Literal["numeric", "categorical"]) -> Dataset:
    """The small world with one more feature, made from each snapshot's table."""
    specs = (*SPECS, FeatureSpec("extra", kind, "", ""))
    tables = [customers(400, seed) for seed in range(len(DATES))]
    tables = [table.append_column("extra", pa.array(values(table), EXTRA[kind])) for table in tables]
    parts = [
        rows_from_arrow(table, specs, [LABEL], np.datetime64(date)) for table, date in zip(tables, DATES, strict=True)
    ]
    window = TrainingWindow(DATES[0], DATES[-2], DATES[-1])
    return make_dataset(specs, Rows.concatenate(parts[:-1]), parts[-1], tables[-1], HORIZON, window)


def outcomes(table: pa.Table) -> Iterator[tuple[int, int]]:
    return enumerate(table[LABEL].to_pylist())


EXTRA = {"numeric": pa.float32(), "categorical": pa.string()}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param("numeric", lambda table: [3.0] * len(table), id="constant"),
        pytest.param("numeric", lambda table: [None] * len(table), id="never known"),
        pytest.param(
            "numeric", lambda table: [-1.0 if row % 5 < 1 + left else 1.0 for row, left in outcomes(table)], id="signed"
        ),
        pytest.param("categorical", lambda table: [None] * len(table), id="never a category"),
        pytest.param("categorical", lambda table: table["customer_id"].to_pylist(), id="a category a customer"),
        pytest.param("categorical", lambda table: ['a"b', "\n", "\0", "=", "é{"] * (len(table) // 5), id="odd names"),
    ],
)
def test_an_odd_feature_makes_a_model_like_any_other(
    desk: Desk, kind: Literal["numeric", "categorical"], values: Callable[[pa.Table], list[object]]
) -> None:
    result = train(SmallPipeline(with_feature(values, kind)), desk.project(), desk.registry, desk.tracker)
    assert result.evidence.parity.passed
    assert result.metrics["auc"].estimate > 0.75


def test_without_a_feature_that_tells_anything_nothing_is_registered(desk: Desk) -> None:
    data = dataset()
    blank = replace(data.train.columns, numeric=np.ones_like(data.train.columns.numeric))
    blank.categorical[:] = ""
    with pytest.raises(TrainingError, match="no feature tells"):
        train(
            SmallPipeline(replace(data, train=replace(data.train, columns=blank))),
            desk.project(),
            desk.registry,
            desk.tracker,
        )
    assert desk.registry.versions("churn") == []


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_an_outcome_that_everybody_shares_is_not_learnt(desk: Desk, outcome: float) -> None:
    data = dataset()
    same = replace(data.train, labels={LABEL: np.full(len(data.train), outcome, np.float32)})
    with pytest.raises(TrainingError, match="train again when there is more data"):
        train(SmallPipeline(replace(data, train=same)), desk.project(), desk.registry, desk.tracker)


def test_customers_set_aside_are_told(desk: Desk) -> None:
    result = train(SmallPipeline(replace(dataset(), set_aside=3)), desk.project(), desk.registry, desk.tracker)
    assert any(warning.startswith("3 test customers were set aside") for warning in result.warnings)


def test_a_sample_is_told_to_whoever_trains_on_the_card_and_in_the_run(desk: Desk) -> None:
    pipeline = SmallPipeline(replace(dataset(), sample=Sample(600, 12_345)))
    result = train(pipeline, desk.project(), desk.registry, desk.tracker)
    run_id = result.version.run_id
    told = "It learnt from and was tested on a random sample of 600 of 12,345 customers; training.most_customers sets"
    assert any(warning.startswith(told) for warning in result.warnings)
    assert told in (desk.tracker.root / run_id / CARD_FILE).read_text()
    parameters = desk.tracker.records[run_id].parameters
    assert (parameters["sampled_customers"], parameters["known_customers"]) == (600, 12_345)


def test_the_code_has_a_digest() -> None:
    assert code_digest() == code_digest()
    assert len(code_digest()) == 64


def test_the_small_world_is_a_snapshot_like_any_other() -> None:
    assert len(rows_from_arrow(customers(5, 0), SPECS, [LABEL], None)) == 5
