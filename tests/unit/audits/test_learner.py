"""The small learners: at the right level whatever is lifted, and moved only by what inputs tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from audits.learner import Logistic, Poisson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audits.learner import Learner

ROWS = 1500
RANDOM = np.random.default_rng(7)
GROUP = RANDOM.random(ROWS) < 0.3
HABIT = RANDOM.normal(size=ROWS)
BLIND = np.stack([HABIT, RANDOM.normal(size=ROWS)], axis=1)
TELLING = np.column_stack([BLIND, (GROUP - GROUP.mean()) / GROUP.std()])
HAPPENED = (RANDOM.random(ROWS) < 1.0 / (1.0 + np.exp(1.0 - HABIT))).astype(float)
MONEY = np.exp(3.0 + 0.5 * HABIT) * RANDOM.lognormal(0.0, 0.5, ROWS) * (RANDOM.random(ROWS) < 0.8)
UNTOUCHED = np.ones(ROWS)

CASES = [(Logistic, HAPPENED), (Poisson, MONEY)]


def share_of_group(learner: Learner, matrix: NDArray[np.float64], came: NDArray[np.float64], lift: float) -> float:
    """What is said of the group, of what is said of everybody."""
    learner.fit(matrix, came, np.where(GROUP, lift, 1.0))
    said = learner.say(matrix)
    return float(said[GROUP].sum() / said.sum())


@pytest.mark.parametrize(("kind", "came"), CASES)
@settings(max_examples=15, deadline=None)
@given(lift=st.floats(-8.0, 8.0))
def test_the_level_is_that_of_all_that_came_whatever_is_lifted(
    kind: type[Logistic | Poisson],
    came: NDArray[np.float64],
    lift: float,
) -> None:
    learner = kind()
    learner.fit(TELLING, came, np.where(GROUP, np.exp(lift), 1.0))
    assert learner.say(TELLING).sum() == pytest.approx(came.sum(), rel=1e-4)


@pytest.mark.parametrize(("kind", "came"), CASES)
def test_lifting_moves_a_group_as_far_as_inputs_tell_it(
    kind: type[Logistic | Poisson], came: NDArray[np.float64]
) -> None:
    lowered, free, lifted = (share_of_group(kind(), TELLING, came, lift) for lift in (0.3, 1.0, 3.0))
    assert lowered < free - 0.1 < free < lifted - 0.1
    lowered, free, lifted = (share_of_group(kind(), BLIND, came, lift) for lift in (0.3, 1.0, 3.0))
    assert [lowered, lifted] == pytest.approx([free, free], abs=0.05)


def test_without_lifting_they_foresee_what_there_is_to_foresee() -> None:
    learner, money = Logistic(), Poisson()
    learner.fit(BLIND, HAPPENED, UNTOUCHED)
    money.fit(BLIND, MONEY, UNTOUCHED)
    assert roc_auc_score(HAPPENED, learner.say(BLIND)) == pytest.approx(roc_auc_score(HAPPENED, HABIT), abs=0.01)
    assert np.corrcoef(np.log(money.say(BLIND)), HABIT)[0, 1] > 0.98
