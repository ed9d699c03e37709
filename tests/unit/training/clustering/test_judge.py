"""The judgement: figures against arithmetic, rivals in one space, and what promotion requires."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_registry.servable import Servable
from tests.support.pages import flaws
from tests.support.segments import GROUPS, dataset, fit, truth
from training.clustering.judge import LEAST, MEANINGS, RFM, explained, judge_segments, rfm_groups
from training.clustering.lineage import Reign
from training.core.draft import Draft
from training.core.drawing import to_svg

if TYPE_CHECKING:
    from training.clustering.pipeline import Segmentation
    from training.core.pipeline import Judgement, Scores

EACH = 60
DATA = dataset(each=EACH)
TRUTH = truth(each=EACH)
NAMES = {1: "a", 2: "b", 3: "c", 4: "d"}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Segmentation:
    return fit(DATA, tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def scores(fitted: Segmentation) -> Scores:
    draft = Draft.of("clustering", DATA, fitted, "run")
    assert isinstance(draft.servable, Servable)
    return draft.scores()


@pytest.fixture(scope="module")
def judgement(fitted: Segmentation, scores: Scores) -> Judgement:
    return judge_segments(DATA, fitted, scores, Reign(NAMES, 4, TRUTH + 1))


def test_the_true_groups_are_good_and_beat_the_total_of_the_fifths(judgement: Judgement) -> None:
    (baseline,) = judgement.baselines
    assert (baseline.other, baseline.metric, baseline.margin) == (RFM, "silhouette", 0.0)
    assert baseline.passed
    assert judgement.grade == "excellent"
    assert judgement.metrics["smallest_share"].estimate == 1 / len(GROUPS)
    assert judgement.metrics["unusual_share"].estimate < 0.1


def test_what_promotion_requires_is_what_the_choice_was_held_to(judgement: Judgement) -> None:
    assert {one.metric: one.low for one in judgement.requirements} == LEAST
    assert all(one.passed for one in judgement.requirements)


def test_a_champion_with_the_same_segments_is_neither_better_nor_worse(judgement: Judgement) -> None:
    assert judgement.champion is not None
    difference = judgement.champion.difference
    assert (difference.low, difference.estimate, difference.high) == (0.0, 0.0, 0.0)
    assert judgement.metrics["kept_ids"].estimate == 1.0


def test_customers_who_lose_their_ids_close_a_gate(fitted: Segmentation, scores: Scores) -> None:
    turned = judge_segments(DATA, fitted, scores, Reign(NAMES, 4, (TRUTH + 1) % 4 + 1))
    (kept,) = (one for one in turned.requirements if one.metric == "kept_ids")
    assert not kept.passed
    assert turned.grade == "poor"


def test_without_a_champion_nobody_asks_for_kept_ids(fitted: Segmentation, scores: Scores) -> None:
    alone = judge_segments(DATA, fitted, scores, None)
    assert alone.champion is None
    assert "kept_ids" not in alone.metrics
    assert [one.metric for one in alone.requirements] == ["stability", "smallest_share"]


def test_every_metric_has_words(judgement: Judgement) -> None:
    assert set(judgement.metrics) == set(MEANINGS) == set(judgement.meanings)


def test_pages_and_figures_are_well_formed_and_load_nothing(judgement: Judgement) -> None:
    assert flaws(judgement.documents["personas.html"]) == []
    assert "NaN" not in judgement.documents["segments.json"]
    record = json.loads(judgement.documents["segments.json"])
    assert [one["id"] for one in record["segments"]] == [1, 2, 3, 4]
    assert [one["segments"] for one in record["tried"] if one["chosen"]] == [len(GROUPS)]
    for one in judgement.illustrations:
        svg = to_svg(one.figure)
        assert ET.fromstring(svg).tag.endswith("svg")
        assert "<image" not in svg


def test_explained_variance_is_that_of_the_book() -> None:
    random = np.random.default_rng(0)
    segments, values = random.integers(0, 3, 200), random.normal(size=200) + 2.0
    members = np.eye(3)[segments]
    means = np.array([values[segments == place].mean() for place in range(3)])[segments]
    expected = ((means - values.mean()) ** 2).sum() / ((values - values.mean()) ** 2).sum()
    assert explained(values, members, np.ones((1, 200)))[0] == pytest.approx(expected)
    assert explained(means, members, np.ones((1, 200)))[0] == pytest.approx(1.0)
    assert explained(np.full(200, np.log(9.99)), members, np.ones((1, 200)))[0] == 0.0


def test_the_total_of_the_fifths_is_cut_into_equal_groups() -> None:
    fifths = np.repeat(np.arange(1.0, 6.0), 20).astype(np.float32)
    groups = rfm_groups({"recency_score": fifths, "frequency_score": fifths, "monetary_score": fifths}, 5)
    assert np.bincount(groups).tolist() == [20] * 5
    assert groups[0] < groups[-1]
