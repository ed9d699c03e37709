"""Refits: what they promise in worlds whose truth is known, and that the attribute never goes in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from audits import churn, cltv, propensity
from audits.fairness import audit
from audits.learner import Logistic
from audits.policy import EXPOSURE_RATIO, OBSERVED_EXPECTED, TOTAL_RATIO, TPR_GAP
from audits.probability import Probabilities
from audits.refit import refits, telling
from tests.support.worlds import (
    churn_world,
    given,
    mirrored_churn,
    mirrored_cltv,
    mirrored_propensity,
    partition,
    policy,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from numpy.typing import NDArray

    from audits.population import Population
    from audits.refit import Refit, Trial

pytestmark = pytest.mark.usefixtures("few_resamples")

ROWS = 8000
CLEAR, NEAR, FAR = 6.0, 3.0, 0.0
"""An input that shows who is of the west, one that nearly does, and one that does not."""


def west_of(world: Population, declared: ModuleType, metric: str) -> tuple[Refit, ...]:
    """What is tried for the west."""
    limits = policy()
    (yardstick,) = declared.yardsticks(world, limits)
    tried: tuple[Refit, ...] = yardstick.refits(
        world.attributes[1], metric, "west", limits.tolerances[metric], world.design
    )
    return tried


def blind_churn(seed: int, rows: int, mirror: float) -> Population:
    return mirrored_churn(seed, rows, mirror, knows=False)


CASES: dict[str, tuple[Callable[[int, int, float], Population], float, ModuleType]] = {
    TPR_GAP: (mirrored_churn, CLEAR, churn),
    EXPOSURE_RATIO: (mirrored_propensity, NEAR, propensity),
    OBSERVED_EXPECTED: (blind_churn, NEAR, churn),
    TOTAL_RATIO: (mirrored_cltv, NEAR, cltv),
}
"""By metric: the world, how closely an input goes along with the west in it, and what declares its yardstick."""


class TestConstraint:
    @pytest.mark.parametrize("metric", CASES)
    def test_where_inputs_show_a_group_it_comes_closer_on_customers_not_fitted_to(self, metric: str) -> None:
        world, mirror, declared = CASES[metric]
        limit = policy().tolerances[metric]

        def off(trial: Trial) -> tuple[float, float]:
            return abs(limit.excess(trial.free.estimate)), abs(limit.excess(trial.tried.estimate))

        trials = [west_of(world(seed, ROWS, mirror), declared, metric)[0].effects["west"] for seed in range(8)]
        free, tried = np.mean([off(trial) for trial in trials], axis=0)
        assert free > 1.5
        assert tried < 0.8

    @pytest.mark.parametrize("metric", CASES)
    def test_the_change_is_what_the_constraint_does_to_the_same_learner(self, metric: str) -> None:
        world, mirror, declared = CASES[metric]
        refit = west_of(world(1, ROWS, mirror), declared, metric)[0]
        for trial in (*refit.effects.values(), *refit.quality.values()):
            assert trial.change.estimate == pytest.approx(trial.tried.estimate - trial.free.estimate)
            assert trial.change.low <= trial.change.estimate <= trial.change.high

    def test_its_price_is_told(self) -> None:
        """West pays half; a constraint on its level must say less of others who look like it."""
        constrained = west_of(mirrored_cltv(1, ROWS, 1.0), cltv, TOTAL_RATIO)[0]
        assert constrained.quality["error"].change.low > 0.0
        assert constrained.quality["top_decile_recall"].change.high < 0.0
        assert constrained.quality["total_ratio"].tried.estimate == pytest.approx(1.0, abs=0.02)

    def test_where_inputs_tell_nothing_of_a_group_no_constraint_helps(self) -> None:
        refit = west_of(blind_churn(1, ROWS, FAR), churn, OBSERVED_EXPECTED)[0]
        assert refit.effects["west"].tried.high < 0.8

    def test_where_the_free_learner_is_fair_nothing_is_changed(self) -> None:
        """The served model says too little of the west for no reason: who is fitted afresh does not."""
        world = churn_world(1, ROWS, shift=1.5)
        truth = world.scores["churn_probability"].copy()
        west = world.attributes[1].rows("west")
        truth[west] = 1.0 / (1.0 + (1.0 - truth[west]) / truth[west] / np.exp(1.5))
        refit = west_of(given(world, habit=np.log(truth / (1.0 - truth))), churn, OBSERVED_EXPECTED)[0]
        west_trial = refit.effects["west"]
        assert west_trial.served.low > 1.25
        assert 0.8 < west_trial.free.estimate < 1.25
        assert (west_trial.change.estimate, west_trial.change.low, west_trial.change.high) == (0.0, 0.0, 0.0)

    def test_the_served_models_figure_is_that_of_the_finding(self) -> None:
        world, limits = mirrored_churn(1, ROWS, NEAR), policy()
        result = audit(world, churn.yardsticks(world, limits), limits)
        found = {one.group: one.figure for one in result.findings if (one.metric, one.attribute) == (TPR_GAP, "region")}
        assert {group: trial.served for group, trial in result.outputs[0].refits[0].effects.items()} == found


class TestWithout:
    def test_a_group_that_three_inputs_show_is_shown_no_more_without_them(self) -> None:
        world = mirrored_propensity(1, ROWS, 2.0)
        habit, mirror, noise = world.inputs.numeric.T.astype(float)
        again = np.random.default_rng(8).normal(size=(2, len(world))) + mirror
        world = given(world, habit=habit, mirror=mirror, second=again[0], third=again[1], noise=noise)
        constrained, dropped = west_of(world, propensity, EXPOSURE_RATIO)
        assert (constrained.without, set(dropped.without)) == ((), {"mirror", "second", "third"})
        assert constrained.effects["west"].free == dropped.effects["west"].free
        assert dropped.effects["west"].free.estimate < 0.8
        assert dropped.effects["west"].tried.estimate == pytest.approx(1.0, abs=0.25)
        assert dropped.effects["west"].change.low > 0.0

    def test_where_no_input_would_be_left_it_is_not_tried(self) -> None:
        (only,) = west_of(mirrored_propensity(1, ROWS, NEAR), propensity, EXPOSURE_RATIO)
        assert only.without == ()


class TestNothingButInputsGoIn:
    def test_a_learner_is_fitted_to_inputs_and_asked_by_inputs_alone(self) -> None:
        world = mirrored_churn(1, ROWS, NEAR)
        seen: list[NDArray[np.float64]] = []

        class Watched(Logistic):
            def fit(self, matrix: NDArray[np.float64], came: NDArray[np.float64], lift: NDArray[np.float64]) -> None:
                seen.append(matrix)
                super().fit(matrix, came, lift)

            def say(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
                seen.append(matrix)
                return super().say(matrix)

        class Watching(Probabilities):
            def learner(self) -> Watched:
                return Watched()

        (churns,) = churn.yardsticks(world, policy())
        watching = Watching(**{**vars(churns), "gates": (TPR_GAP,)})
        refits(watching, world.attributes[1], TPR_GAP, "west", policy().tolerances[TPR_GAP], world.design)
        rows = {row.tobytes() for row in world.design.matrix}
        assert len(seen) > 8
        assert world.design.features == ("habit", "mirror", "noise")
        assert all(row.tobytes() in rows for matrix in seen for row in np.ascontiguousarray(matrix))

    def test_alike_inputs_are_treated_alike_whatever_the_group(self) -> None:
        """Twenty in a row have the inputs of one, whatever their groups: no constraint tells them apart."""
        world = blind_churn(1, ROWS, NEAR)
        twins = np.arange(ROWS) // 20
        inputs = dict(zip(("habit", "mirror", "noise"), world.inputs.numeric[twins].T.astype(float), strict=True))
        told = given(world, **inputs)
        assert telling(told.attributes[1], "west", told.design).together.low < 0.5
        refit = west_of(told, churn, OBSERVED_EXPECTED)[0]
        assert refit.effects["west"].tried.high < 0.8


class TestTelling:
    def test_inputs_together_and_alone(self) -> None:
        world = mirrored_churn(1, ROWS, 1.0)
        told = telling(world.attributes[1], "west", world.design)
        # Two normals a deviation apart.
        assert told.together.low < 0.76 < told.together.high
        assert told.alone["mirror"] == pytest.approx(0.76, abs=0.03)
        assert max(told.alone["habit"], told.alone["noise"]) < 0.55

    def test_nobody_is_told_by_nothing_on_customers_not_fitted_to(self) -> None:
        """Forty inputs of noise tell any group of the customers that they are fitted to."""
        random = np.random.default_rng(9)
        world = given(churn_world(1, 1000), **{f"x{number}": random.normal(size=1000) for number in range(40)})
        told = telling(world.attributes[1], "west", world.design)
        assert told.together.low < 0.5 < told.together.high

    def test_the_unknown_are_not_the_others(self) -> None:
        world = mirrored_churn(1, ROWS, NEAR)
        values = np.array(world.attributes[1].groups, object)[world.attributes[1].codes]
        hidden = np.where(np.arange(ROWS) % 3 == 0, "unknown", values)
        parted = partition("region", hidden.tolist())
        members, others = parted.apart("west")
        assert members.sum() + others.sum() == (hidden != "unknown").sum()
        assert telling(parted, "west", world.design).together.low > 0.95


class TestEngine:
    def test_nothing_is_made_ready_for_a_refit_where_nothing_fails(self) -> None:
        world, limits = mirrored_churn(1, 300, NEAR), policy()
        result = audit(world, churn.yardsticks(world, limits), limits)
        assert (result.outputs[0].refits, result.tellings) == ((), ())
        assert "design" not in vars(world)

    def test_a_failure_is_followed_by_refits_and_by_what_tells_the_group(self) -> None:
        world, limits = mirrored_churn(1, ROWS, NEAR), policy()
        result = audit(world, churn.yardsticks(world, limits), limits)
        assert [(one.metric, one.attribute) for one in result.outputs[0].refits] == [(TPR_GAP, "region")]
        assert [(one.attribute, one.group) for one in result.tellings] == [("region", "west")]

    def test_a_model_without_inputs_that_vary_has_none(self) -> None:
        world, limits = churn_world(1, 6000, shift=1.5), policy()
        result = audit(world, churn.yardsticks(world, limits), limits)
        assert result.outputs[0].options
        assert (result.outputs[0].refits, result.tellings) == ((), ())

    def test_more_customers_than_are_fitted_to_are_measured_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("audits.refit.MOST_FITTED", 300)
        refit = west_of(mirrored_propensity(1, ROWS, NEAR), propensity, EXPOSURE_RATIO)[0]
        whole = west_of(mirrored_propensity(1, ROWS, NEAR), propensity, EXPOSURE_RATIO)[0]
        assert refit.effects["west"].served == whole.effects["west"].served
        assert refit.effects["west"].tried.low > refit.effects["west"].served.high

    def test_a_group_of_which_nobody_is_fitted_to_stays_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("audits.refit.MOST_FITTED", 40)
        world = mirrored_propensity(1, ROWS, NEAR)
        rare = np.where(np.arange(ROWS) < 300, "rare", np.array(["f", "m"], object)[world.attributes[0].codes])
        world = replace(world, attributes=(world.attributes[0], partition("region", rare.tolist())))
        limits = policy()
        (yardstick,) = propensity.yardsticks(world, limits)
        tried = yardstick.refits(
            world.attributes[1], EXPOSURE_RATIO, "rare", limits.tolerances[EXPOSURE_RATIO], world.design
        )
        assert np.isfinite(tried[0].effects["rare"].tried.estimate)

    def test_the_same_customers_give_the_same_refits(self) -> None:
        one, other = (west_of(mirrored_churn(1, ROWS, NEAR), churn, TPR_GAP) for _ in range(2))
        assert one == other
