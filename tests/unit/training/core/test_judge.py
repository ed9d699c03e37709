"""The judgement: what is compared, by what, and on which side the burden of proof lies."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from model_registry.gates import NON_INFERIORITY_MARGIN
from tests.support.learning import HORIZON, LABEL, dataset
from training.core.baselines import repeat_scores
from training.core.classifier import tune
from training.core.dataset import design_matrix
from training.core.drawing import to_svg
from training.core.judge import MEANINGS, judge_classifier

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


def test_recency_speaks_for_the_outcome_as_the_rule_has_it() -> None:
    turned = judge_classifier(DATA, LABEL, SCORES, None, repeat_scores)
    long, short = (one.others["recency"]["auc"].estimate for one in (JUDGEMENT, turned))
    assert short == pytest.approx(1 - long)


def test_without_a_champion_there_is_no_comparison() -> None:
    alone = judge_classifier(DATA, LABEL, SCORES, None)
    assert alone.champion is None
    assert "champion" not in alone.others
    assert alone.metrics == JUDGEMENT.metrics


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (0.6, False), (1.6, False)])
def test_probabilities_of_the_wrong_level_fail_however_well_they_rank(factor: float, passes: bool) -> None:
    judgement = judge_classifier(DATA, LABEL, (SCORES * factor).clip(0, 1).astype(np.float32), None)
    (level,) = judgement.requirements
    assert (level.metric, level.low, level.high) == ("observed_expected", 0.8, 1.25)
    assert level.figure == judgement.metrics["observed_expected"].estimate
    assert level.passed == passes


def test_every_metric_has_words() -> None:
    assert set(JUDGEMENT.metrics) == set(MEANINGS) == set(JUDGEMENT.meanings)


def test_figures_are_well_formed_and_the_same_every_time() -> None:
    again = judge_classifier(DATA, LABEL, SCORES, CHANCE)
    for one, other in zip(JUDGEMENT.illustrations, again.illustrations, strict=True):
        svg = to_svg(one.figure)
        assert ET.fromstring(svg).tag.endswith("svg")
        assert svg == to_svg(other.figure)
