"""A probability by group: every figure against its textbook form, and what is gated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from audits.policy import EXPOSURE_RATIO, OBSERVED_EXPECTED, TPR_GAP
from audits.probability import Probabilities, calibration_slope, observed_expected
from audits.reach import exposure, top
from tests.support.worlds import churn_world, partition, policy, propensity_world

WORLD = churn_world(1, 3000)
CHURN = Probabilities.of(
    WORLD, policy(), "churn_probability", "churned", title="Risk", gates=(TPR_GAP, OBSERVED_EXPECTED)
)
EVERYBODY = np.arange(len(WORLD))
NORTH = WORLD.attributes[1].rows("north")
WEST = WORLD.attributes[1].rows("west")


class TestReach:
    def test_it_is_the_highest_scores_and_no_more(self) -> None:
        scores = np.array([0.1, 0.9, 0.5, 0.7, 0.3])
        assert top(scores, 0.4).tolist() == [False, True, False, True, False]

    def test_somebody_is_always_reached(self) -> None:
        assert top(np.array([0.1, 0.2]), 0.01).tolist() == [False, True]

    def test_equal_scores_are_drawn_by_lot_whatever_the_order_of_the_table(self) -> None:
        chosen = top(np.full(10_000, 0.5), 0.2)
        assert chosen.sum() == 2000
        assert chosen[:5000].sum() == pytest.approx(1000, abs=100)
        assert (top(np.full(10_000, 0.5), 0.2) == chosen).all()

    def test_a_group_of_a_handful_is_not_told_of(self) -> None:
        reached = np.arange(100) < 50
        assert exposure(reached, np.arange(29), None, 30) == {}
        assert set(exposure(reached, np.arange(30), None, 30)) == {"reached"}
        assert set(exposure(reached, np.arange(30), np.arange(40, 80), 30)) == {"reached", "reached_ratio"}

    def test_no_ratio_is_taken_to_a_group_that_nobody_reaches(self) -> None:
        assert set(exposure(np.arange(100) < 50, np.arange(30), np.arange(60, 100), 30)) == {"reached"}


class TestFigures:
    figures = CHURN.figures(WEST, NORTH)
    happened = CHURN.happened[WEST]
    reached = CHURN.reached[WEST]
    probability = CHURN.probability[WEST]

    def test_rates_are_those_of_the_confusion_matrix(self) -> None:
        expected = {
            "base_rate": self.happened.mean(),
            "reached": self.reached.mean(),
            "banded": (self.probability >= 0.5).mean(),
            "tpr": self.reached[self.happened].mean(),
            "fpr": self.reached[~self.happened].mean(),
            "ppv": self.happened[self.reached].mean(),
            "reached_ratio": self.reached.mean() / CHURN.reached[NORTH].mean(),
        }
        assert {name: self.figures[name].estimate for name in expected} == pytest.approx(expected)

    def test_auc_and_brier_are_scikit_learns(self) -> None:
        assert self.figures["auc"].estimate == pytest.approx(roc_auc_score(self.happened, self.probability))
        assert self.figures["brier"].estimate == pytest.approx(brier_score_loss(self.happened, self.probability))

    def test_ties_count_one_half(self) -> None:
        rounded = Probabilities.of(
            WORLD, policy(), "churn_probability", "churned", title="Risk", gates=()
        )  # fmt: skip
        coarse = np.round(rounded.probability, 1)
        tied = Probabilities(**{**vars(rounded), "probability": coarse})
        assert tied.figures(EVERYBODY, None)["auc"].estimate == pytest.approx(roc_auc_score(tied.happened, coarse))

    def test_the_slope_is_that_of_a_logistic_line(self) -> None:
        said = CHURN.probability
        odds = (np.log(said) - np.log1p(-said))[:, None]
        line = LogisticRegression(C=np.inf, tol=1e-10).fit(1.7 * odds, CHURN.happened)
        slope = calibration_slope(1.0 / (1.0 + np.exp(-1.7 * odds.ravel())), CHURN.happened)
        assert slope.value == pytest.approx(line.coef_[0, 0], rel=1e-4)
        low, high = slope.at(2.0)
        assert low < 1.0 / 1.7 < high

    def test_odds_that_are_all_alike_or_part_the_outcomes_have_no_slope(self) -> None:
        happened = np.arange(100) < 40
        assert math.isnan(calibration_slope(np.full(100, 0.4), happened).value)
        assert math.isnan(calibration_slope(np.where(happened, 0.999, 0.001), happened).value)

    def test_observed_to_expected_is_covered_as_often_as_promised(self) -> None:
        random = np.random.default_rng(2)
        said = random.beta(1, 4, (300, 300))
        happened = random.random(said.shape) < 1.1 * said
        ends = [observed_expected(*world).at(1.96) for world in zip(said, happened, strict=True)]
        assert 0.92 <= np.mean([low <= 1.1 <= high for low, high in ends]) <= 0.98

    def test_every_figure_lies_in_its_interval_and_has_words(self) -> None:
        for name, figure in self.figures.items():
            assert figure.low <= figure.estimate <= figure.high, name
        assert set(self.figures) <= set(CHURN.meanings)

    def test_of_a_group_with_too_few_outcomes_only_the_reach_is_told(self) -> None:
        few = WEST[:40]
        assert not CHURN.enough(few)
        assert set(CHURN.figures(few, NORTH)) == {"reached", "reached_ratio"}
        assert CHURN.figures(few[:20], NORTH) == {}


class TestGates:
    def test_the_reference_is_judged_by_its_level_and_the_others_by_both(self) -> None:
        region = WORLD.attributes[1]
        gated = [(one.metric, one.group) for one in CHURN.gated(region)]
        assert ("observed_expected", "north") in gated
        assert ("tpr_gap", "north") not in gated
        assert {group for metric, group in gated if metric == "tpr_gap"} == {"east", "south", "west"}

    def test_a_group_below_the_minimum_is_not_judged(self) -> None:
        parted = partition("size", ["small" if row < 50 else "large" for row in range(len(WORLD))])
        assert {one.group for one in CHURN.gated(parted)} == {"large"}

    def test_nor_is_anybody_compared_with_a_reference_below_it(self) -> None:
        # The largest group has hardly any outcome, so there is nothing to compare the others with.
        gone = np.flatnonzero(CHURN.happened)
        values = np.full(len(WORLD), "large", object)
        values[gone] = "gone"
        values[np.flatnonzero(~CHURN.happened)[:200]] = "gone"
        parted = partition("size", values.tolist())
        assert parted.reference == "large"
        assert [(one.metric, one.group) for one in CHURN.gated(parted)] == [("observed_expected", "gone")]

    def test_propensity_is_judged_by_whom_it_reaches(self) -> None:
        world = propensity_world(1, 3000)
        offer = Probabilities.of(
            world, policy(), "purchase_probability", "purchased", title="Offer", gates=(EXPOSURE_RATIO,)
        )
        assert {one.metric for one in offer.gated(world.attributes[0])} == {"exposure_ratio"}
        assert set(offer.chance(world.attributes[0])) == {"exposure_ratio"}
        # Without bands there is no highest one.
        assert "banded" not in offer.figures(EVERYBODY, None)
