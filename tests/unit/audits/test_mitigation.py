"""Lines by group: what they promise, on customers that they were not drawn from."""

from __future__ import annotations

import pytest

from audits.mitigation import NOT_MEASURED, OTHERS, lines_by_group
from audits.policy import EXPOSURE_RATIO, MEANINGS, TPR_GAP
from tests.support.worlds import churn_world, partition

WORLD = churn_world(5, 20_000, shift=1.5)
REGION = WORLD.attributes[1]
SCORES = WORLD.scores["churn_probability"]
LEFT = WORLD.labels["churned"] > 0


@pytest.mark.parametrize("metric", [TPR_GAP, EXPOSURE_RATIO])
def test_groups_are_reached_alike_and_as_many_as_before(metric: str) -> None:
    option = lines_by_group(REGION, REGION.groups, SCORES, LEFT, 0.2, metric)
    before, after = ([pair[side].estimate for pair in option.effects.values()] for side in (0, 1))
    assert max(before) - min(before) > 0.15
    assert max(after) - min(after) < 0.1
    reached = option.cost["Share of all customers who are reached"]
    assert [one.estimate for one in reached] == pytest.approx([0.2, 0.2], abs=0.015)


def test_the_harmed_group_gets_the_lower_line() -> None:
    option = lines_by_group(REGION, REGION.groups, SCORES, LEFT, 0.2, TPR_GAP)
    assert min(option.lines, key=lambda group: option.lines[group]) == "west"
    assert OTHERS not in option.lines


def test_a_bias_of_the_model_costs_nothing_to_correct() -> None:
    """The model says too little of a region, so reaching it as often as the others finds more of those who leave."""
    option = lines_by_group(REGION, REGION.groups, SCORES, LEFT, 0.2, TPR_GAP)
    before, after = option.cost["Share of those with the outcome who are reached"]
    assert after.estimate > before.estimate - 0.01


def test_whoever_is_of_no_group_or_a_small_one_shares_a_line() -> None:
    values = ["unknown" if row % 3 else REGION.groups[REGION.codes[row]] for row in range(len(WORLD))]
    parted = partition("region", values)
    option = lines_by_group(parted, ("north", "west"), SCORES, LEFT, 0.2, TPR_GAP)
    assert list(option.lines) == ["north", "west", OTHERS]
    assert len(option.effects) == 2


def test_every_metric_has_something_to_try() -> None:
    assert set(NOT_MEASURED) == set(MEANINGS)
    assert all(NOT_MEASURED.values())
