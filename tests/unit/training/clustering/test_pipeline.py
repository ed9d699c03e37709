"""The pipeline: known groups found, certified, named, and kept through retraining."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest

from features.project import load_project
from model_registry.bundle import read_bundle
from model_registry.registry import CANDIDATE, CHAMPION
from model_registry.schema import Status
from model_registry.servable import Servable
from services.clustering.servicer import check
from tests.fakes.registry import FakeRegistry, FolderTracker
from tests.support.segments import AT_RISK, CHAMPIONS, GROUPS, LAPSED, PROMISING, Group, dataset, fit, project, truth
from tests.support.shop import open_shop
from training.clustering import choice, pipeline
from training.clustering.lineage import HIGHEST
from training.clustering.pipeline import PIPELINE
from training.clustering.space import FEATURES
from training.core.champion import Champion
from training.core.draft import Draft
from training.core.errors import NotEligibleError, TrainingError
from training.core.job import train
from training.core.parity import certify

if TYPE_CHECKING:
    from pathlib import Path

    from features.project import Project
    from training.clustering.pipeline import Segmentation
    from training.core.dataset import Dataset
    from training.core.job import TrainingResult

EACH = 60
DATA = dataset(each=EACH)
TRUTH = truth(each=EACH)
HEAVY = Group(3.0, 30.0, 9000.0, 0.9)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Segmentation:
    return fit(DATA, tmp_path_factory.mktemp("project"))


def reigning(data: Dataset, fitted: Segmentation, over: Dataset) -> Champion:
    """`fitted` as the champion, asked about the test part of `over`."""
    draft = Draft.of("clustering", data, fitted, "run")
    outputs = [output.name for output in draft.manifest.schema.outputs]
    answers = draft.servable.run(over.test.columns)
    return Champion("1", dict(zip(outputs, answers, strict=True)), draft.manifest)


def ids_of(data: Dataset, fitted: Segmentation) -> np.ndarray:
    return Draft.of("clustering", data, fitted, "run").scores()["cluster_id"]


def test_the_groups_are_found_and_named(first: Segmentation) -> None:
    assert first.chosen.k == len(GROUPS)
    assert ids_of(DATA, first).tolist() == (TRUTH + 1).tolist()
    assert first.personas[0].name == "Champions"
    assert first.personas[-1].name == "Lapsed"
    bands = first.schema.outputs[0].bands
    assert [band.threshold for band in bands] == [1.0, 2.0, 3.0, 4.0]
    assert [band.name for band in bands] == [persona.name for persona in first.personas]
    assert first.constants == {HIGHEST: 4.0}


def test_the_graph_is_certified_and_a_server_takes_it(first: Segmentation) -> None:
    draft = Draft.of("clustering", DATA, first, "run")
    certificate = certify(draft.servable, first, DATA.test.columns)
    assert certificate.largest < 1e-6
    assert "hardest for this model" in certificate.deviations
    check(draft.manifest)


def test_whoever_never_ordered_is_told_so(first: Segmentation) -> None:
    draft = Draft.of("clustering", DATA, first, "run")
    numeric = DATA.test.columns.numeric[:1].copy()
    numeric[0, FEATURES.index("frequency")] = 0.0
    nobody = replace(DATA.test.columns.slice(0, 1), numeric=numeric)
    assert draft.servable.score(nobody).statuses.tolist() == [Status.INSUFFICIENT_HISTORY]


def test_the_same_data_gives_the_same_graph(first: Segmentation, tmp_path: Path) -> None:
    assert fit(DATA, tmp_path).graph == first.graph


def test_a_retraining_keeps_ids_and_names(first: Segmentation, tmp_path: Path) -> None:
    later = dataset(each=EACH, seed=10)
    champion = reigning(DATA, first, later)
    again = fit(later, tmp_path, champion)
    assert again.lineage.kept == 1.0
    assert again.personas == first.personas
    assert (again.story, again.warnings) == ((), ())


def test_a_new_group_is_born_with_an_id_that_nobody_had(first: Segmentation, tmp_path: Path) -> None:
    groups = (CHAMPIONS, HEAVY, AT_RISK, PROMISING, LAPSED)
    later = dataset(groups, EACH, seed=10)
    again = fit(later, tmp_path, reigning(DATA, first, later))
    assert sorted(again.lineage.ids) == [1, 2, 3, 4, 5]
    assert again.lineage.births == (5,)
    assert again.constants[HIGHEST] == 5.0
    assert len({persona.name for persona in again.personas}) == 5
    assert any("Segment 5" in line and "is new" in line for line in again.warnings)


def test_a_group_that_is_gone_ends_and_is_told_of(first: Segmentation, tmp_path: Path) -> None:
    later = dataset((CHAMPIONS, AT_RISK, LAPSED), 2 * EACH, seed=10)
    again = fit(later, tmp_path, reigning(DATA, first, later))
    assert again.lineage.ids == (1, 2, 4)
    assert again.lineage.deaths == (3,)
    assert any("Segment 3" in line and "has ended" in line for line in again.warnings)
    assert again.constants[HIGHEST] == 4.0


def test_a_champion_that_cannot_be_asked_is_no_silent_matter(tmp_path: Path) -> None:
    fitted = fit(DATA, tmp_path, Champion("3", warning="cannot be asked"))
    assert any("begin anew" in line for line in fitted.warnings)


def test_of_very_many_rows_some_customers_are_drawn_with_all_their_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "FIT_ROWS", len(DATA.train) // 2)
    drawn = pipeline._sampled(DATA.train)
    assert 0.3 < len(drawn) / len(DATA.train) < 0.7
    assert len(drawn) == 3 * len(set(drawn.customer_ids))
    fitted = fit(DATA, tmp_path)
    assert len(set(zip(ids_of(DATA, fitted), TRUTH, strict=True))) == fitted.chosen.k


def test_clustering_cannot_do_without_its_three_features(tmp_path: Path) -> None:
    dropping = project(tmp_path, '[training]\ndrop_features = ["monetary"]\n')
    with pytest.raises(TrainingError, match=r"drop_features names monetary.*take it off"):
        PIPELINE.dataset(dropping, None)


def run(data: Dataset, desk: tuple[FakeRegistry, FolderTracker], settings: Project) -> TrainingResult:
    with (
        mock.patch.multiple(choice, REFITS=6, STARTS=5),
        mock.patch.object(type(PIPELINE), "dataset", return_value=data),
    ):
        return train(PIPELINE, settings, *desk)


def test_two_trainings_through_the_job_continue_one_line(tmp_path: Path) -> None:
    tracker = FolderTracker(tmp_path / "runs")
    registry = FakeRegistry(tracker)
    settings = project(tmp_path)
    one = run(DATA, (registry, tracker), settings)
    registry.point("clustering", CHAMPION, one.version.version)
    two = run(dataset(each=EACH, seed=10), (registry, tracker), settings)
    assert two.metrics["kept_ids"].estimate == 1.0
    assert two.champion is not None
    candidate = registry.resolve("clustering", CANDIDATE)
    assert candidate is not None
    folder = tracker.root / candidate.run_id
    assert {"personas.html", "segments.json", "model_card.html"} <= {path.name for path in folder.iterdir()}
    Servable(read_bundle(folder / "bundle")).replay()


def test_a_shop_becomes_snapshots_of_three_features(tmp_path: Path) -> None:
    shop = open_shop(tmp_path, customers=600)
    shop.write_text(shop.read_text().replace("snapshots = 8", "snapshots = 2"))
    data = PIPELINE.dataset(load_project(shop), None)
    assert [feature.name for feature in data.features] == list(FEATURES)
    assert not any(feature.nullable for feature in data.features)
    assert set(data.test.labels) == {"purchased", "revenue"}
    assert not data.train.labels
    assert len(np.unique(data.train.dates)) == 2
    assert data.set_aside == 0


def test_a_shop_with_few_customers_is_told_how_many_it_needs(tmp_path: Path) -> None:
    shop = open_shop(tmp_path, customers=60)
    shop.write_text(shop.read_text().replace("snapshots = 8", "snapshots = 1"))
    with pytest.raises(NotEligibleError, match="needs 500"):
        PIPELINE.dataset(load_project(shop), None)
