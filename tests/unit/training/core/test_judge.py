"""The judgement: what is compared, by what, and on which side the burden of proof lies."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_registry.columns import Columns
from model_registry.promotion import NON_INFERIORITY_MARGIN
from tests.support.learning import HORIZON, LABEL, dataset
from training.core.classifier import tune
from training.core.dataset import Rows, design_matrix
from training.core.eligibility import require_both_outcomes
from training.core.errors import TrainingError
from training.core.judge import MEANINGS, judge_classifier
from training.core.plots import to_svg

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = dataset()
MODEL = tune(DATA.train, DATA.features, LABEL, HORIZON, lambda _: None).model
SCORES = MODEL.probabilities(design_matrix(DATA.test.columns, DATA.features)).astype(np.float32)
CHANCE = np.random.default_rng(0).random(len(SCORES)).astype(np.float32)
JUDGEMENT = judge_classifier(DATA, LABEL, SCORES, CHANCE)


def test_recency_must_be_beaten_and_logistic_regression_must_not_win() -> None:
    recency, logistic = JUDGEMENT.baselines
    assert (recency.other, recency.metric, recency.margin) == ("recency", "auc", 0.0)
    assert (logistic.other, logistic.metric, logistic.margin) == ("logistic regression", "auc", NON_INFERIORITY_MARGIN)
    assert recency.difference.estimate == pytest.approx(
        JUDGEMENT.metrics["auc"].estimate - JUDGEMENT.others["recency"]["auc"].estimate
    )
    assert recency.passed


def test_a_rule_without_probabilities_has_no_level() -> None:
    assert "brier" not in JUDGEMENT.others["recency"]
    assert "brier" in JUDGEMENT.others["logistic regression"]


def test_a_champion_by_chance_is_beaten_and_beats_nobody() -> None:
    assert JUDGEMENT.champion is not None
    assert JUDGEMENT.champion.difference.low > 0
    turned = judge_classifier(DATA, LABEL, CHANCE, SCORES)
    assert turned.champion is not None
    assert turned.champion.difference.high < 0
    assert not any(comparison.passed for comparison in turned.baselines)


def test_without_a_champion_there_is_no_comparison() -> None:
    alone = judge_classifier(DATA, LABEL, SCORES, None)
    assert alone.champion is None
    assert "champion" not in alone.others
    assert alone.metrics == JUDGEMENT.metrics


def test_every_metric_has_words() -> None:
    assert set(JUDGEMENT.metrics) == set(MEANINGS) == set(JUDGEMENT.meanings)


def test_figures_are_well_formed_and_the_same_every_time() -> None:
    again = judge_classifier(DATA, LABEL, SCORES, CHANCE)
    for one, other in zip(JUDGEMENT.illustrations, again.illustrations, strict=True):
        svg = to_svg(one.figure)
        assert ET.fromstring(svg).tag.endswith("svg")
        assert svg == to_svg(other.figure)


@pytest.mark.parametrize(("positives", "negatives", "enough"), [(100, 100, True), (99, 500, False), (500, 99, False)])
def test_both_outcomes_must_be_there(positives: int, negatives: int, enough: bool) -> None:
    once = rows_of(np.repeat(np.array([1, 0], np.float32), [positives, negatives]), "2017-01-01")
    twice = Rows.concatenate([once, once])
    if enough:
        require_both_outcomes("training part", twice, LABEL, 100)
        return
    told = f"holds {positives} customers with the outcome and {negatives} without.*churn.active_days"
    with pytest.raises(TrainingError, match=told):
        require_both_outcomes("training part", twice, LABEL, 100)


def test_without_a_time_axis_no_date_is_advised() -> None:
    with pytest.raises(TrainingError, match="needs 100 of each; wait for more data"):
        require_both_outcomes("table of customers", rows_of(np.ones(200, np.float32), "NaT"), LABEL, 100)


def rows_of(labels: NDArray[np.float32], date: str) -> Rows:
    ids = np.array([f"c{number}" for number in range(len(labels))], object)
    columns = Columns(np.zeros((len(labels), 1), np.float32), np.empty((len(labels), 0), object))
    return Rows(ids, np.full(len(labels), date, "datetime64[D]"), columns, {LABEL: labels})
