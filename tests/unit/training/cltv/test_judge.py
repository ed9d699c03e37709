"""The judgement of lifetime values: what is compared, what is required, and what is said where something is missing."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_registry.gates import NON_INFERIORITY_MARGIN
from tests.support.spending import LABEL, dataset, tuned
from training.cltv.baselines import MBG_NBD, SPEND_RATE
from training.cltv.judge import ACROSS_LIMIT, DATED_LIMIT, MEANINGS, judge_values
from training.core.amounts import Foreseen
from training.core.dataset import design_matrix
from training.core.drawing import to_svg
from training.core.grade import POOR

if TYPE_CHECKING:
    from training.core.pipeline import Judgement

DATA = dataset()
FORESEEN = tuned().amounts.foreseen(design_matrix(DATA.test.columns, DATA.features))
CHANCE = np.random.default_rng(0).permutation(FORESEEN.expected).astype(np.float32)
PROMISED = 0.8


@cache
def judged(promised: float = PROMISED) -> Judgement:
    return judge_values(DATA, LABEL, FORESEEN, promised, CHANCE, "EUR")


def test_the_spend_rate_must_be_beaten_and_mbg_nbd_must_not_win() -> None:
    rate, rhythm = judged().baselines
    assert (rate.other, rate.metric, rate.margin) == (SPEND_RATE, "gini", 0.0)
    assert (rhythm.other, rhythm.metric, rhythm.margin) == (MBG_NBD, "gini", NON_INFERIORITY_MARGIN)
    assert rate.passed
    assert rate.difference.estimate == pytest.approx(
        judged().metrics["gini"].estimate - judged().others[SPEND_RATE]["gini"].estimate
    )


def test_in_the_world_that_it_is_the_truth_of_mbg_nbd_wins_and_the_grade_says_so() -> None:
    rhythm = judged().baselines[1]
    assert not rhythm.passed
    assert judged().grade == POOR


def test_rules_have_an_order_and_a_level_but_no_bounds() -> None:
    for figures in judged().others.values():
        assert {"gini", "rank_correlation", "aggregate_ratio", "mae", "top_decile_share"} == set(figures)
    assert {"coverage", "interval_width"} < set(judged().metrics)


def test_a_champion_by_chance_is_beaten_and_without_one_there_is_no_comparison() -> None:
    champion = judged().champion
    assert champion is not None
    assert champion.difference.low > 0
    alone = judge_values(DATA, LABEL, FORESEEN, PROMISED, None, "EUR")
    assert alone.champion is None
    assert alone.metrics == judged().metrics


def test_total_and_coverage_are_required() -> None:
    total, coverage = judged().requirements
    assert (total.metric, total.low, total.high) == ("aggregate_ratio", 0.9, 1.1)
    assert (coverage.metric, coverage.low, coverage.high) == ("coverage", 0.76, 0.84)
    assert total.figure == judged().metrics["aggregate_ratio"].estimate
    assert coverage.figure == judged().metrics["coverage"].estimate


@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (1.3, False), (0.7, False)])
def test_a_total_that_misses_fails(factor: float, passed: bool) -> None:
    shifted = Foreseen(factor * FORESEEN.expected, FORESEEN.lower, FORESEEN.upper)
    judgement = judge_values(DATA, LABEL, shifted, PROMISED, None, "EUR")
    assert judgement.requirements[0].passed == passed
    assert judgement.metrics["gini"] == judged().metrics["gini"]


def test_bounds_that_promise_too_little_fail_as_those_that_hold_too_often() -> None:
    narrow = replace(FORESEEN, lower=0.9 * FORESEEN.expected, upper=1.1 * FORESEEN.expected)
    wide = replace(FORESEEN, lower=np.zeros_like(FORESEEN.lower), upper=10.0 * FORESEEN.upper)
    for foreseen in (narrow, wide):
        assert not judge_values(DATA, LABEL, foreseen, PROMISED, None, "EUR").requirements[1].passed


def test_where_most_spend_nothing_more_coverage_is_allowed_and_the_reason_told() -> None:
    promised = 0.93
    coverage = judged(promised).requirements[1]
    assert (coverage.low, coverage.high) == (0.76, 0.97)
    assert any("spend nothing" in limit and "93%" in limit for limit in judged(promised).limits)
    assert not any("spend nothing" in limit for limit in judged().limits)


def test_a_rule_whose_features_are_dropped_is_named() -> None:
    kept = [at for at, feature in enumerate(DATA.features[:6]) if feature.name not in {"frequency", "spend_90d"}]
    names = {"frequency", "spend_90d"}
    poorer = replace(
        DATA,
        features=tuple(feature for feature in DATA.features if feature.name not in names),
        test=replace(DATA.test, columns=replace(DATA.test.columns, numeric=DATA.test.columns.numeric[:, kept])),
    )
    judgement = judge_values(poorer, LABEL, FORESEEN, PROMISED, None, "EUR")
    assert judgement.baselines == ()
    for name in (SPEND_RATE, MBG_NBD):
        assert any(name in limit for limit in judgement.limits)


def test_customers_of_the_same_days_are_told_from_those_of_a_later_one() -> None:
    assert DATED_LIMIT in judged().limits
    across = replace(DATA, window=replace(DATA.window, last_snapshot=DATA.window.test_snapshot))
    limits = judge_values(across, LABEL, FORESEEN, PROMISED, None, "EUR").limits
    assert ACROSS_LIMIT in limits
    assert DATED_LIMIT not in limits


def test_every_metric_has_words() -> None:
    assert set(judged().metrics) == set(MEANINGS) == set(judged().meanings)


def test_figures_are_well_formed_and_the_same_every_time() -> None:
    again = judge_values(DATA, LABEL, FORESEEN, PROMISED, CHANCE, "EUR")
    assert [one.name for one in again.illustrations] == ["levels", "gains", "coverage"]
    for one, other in zip(judged().illustrations, again.illustrations, strict=True):
        svg = to_svg(one.figure)
        assert ET.fromstring(svg).tag.endswith("svg")
        assert svg == to_svg(other.figure)
