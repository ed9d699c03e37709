"""Paired figures: their values as in the textbooks, and their errors as a bootstrap of the customers finds them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from audits.influence import Influenced

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RANDOM = np.random.default_rng(4)
ROWS = 400
HAPPENED = RANDOM.random(ROWS) < 0.3
ONE = RANDOM.normal(size=ROWS) + HAPPENED
OTHER = ONE + 0.5 * RANDOM.normal(size=ROWS)


def auc(scores: NDArray[np.float64], drawn: NDArray[np.intp]) -> float:
    happened = HAPPENED[drawn]
    return float((scores[drawn][happened][:, None] > scores[drawn][~happened]).mean())


def bootstrapped(statistic: Callable[[NDArray[np.intp]], float]) -> float:
    """The standard error over customers that are drawn again."""
    random = np.random.default_rng(5)
    return float(np.std([statistic(random.integers(0, ROWS, ROWS)) for _ in range(600)], ddof=1))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2))
def test_the_auc_counts_every_pair_and_half_of_the_ties(customers: list[tuple[int, bool]]) -> None:
    scores, happened = (np.array(one) for one in zip(*customers, strict=True))
    if not 0 < happened.sum() < len(happened):
        return
    auc = Influenced.auc(scores.astype(float), happened)
    assert auc.value == pytest.approx(roc_auc_score(happened, scores))
    assert auc.influence.sum() == pytest.approx(0.0, abs=1e-12)


def test_the_error_of_an_auc_and_of_a_difference_of_two() -> None:
    one, other = (Influenced.auc(scores, HAPPENED) for scores in (ONE, OTHER))
    assert one.estimate.error == pytest.approx(bootstrapped(lambda drawn: auc(ONE, drawn)), rel=0.1)
    change = other.less(one).estimate
    assert change.error == pytest.approx(bootstrapped(lambda drawn: auc(OTHER, drawn) - auc(ONE, drawn)), rel=0.1)
    # Far surer than two samples of different customers would be.
    assert change.error < 0.6 * math.hypot(one.estimate.error, other.estimate.error)


def test_the_error_of_a_level_and_of_a_ratio_of_two() -> None:
    money, foreseen = np.exp(ONE), np.exp(OTHER)
    level = Influenced.quotient(foreseen, money)
    assert level.value == pytest.approx(foreseen.sum() / money.sum())
    assert level.estimate.error == pytest.approx(
        bootstrapped(lambda drawn: float(foreseen[drawn].sum() / money[drawn].sum())), rel=0.1
    )
    group, rest = HAPPENED.astype(float), (~HAPPENED).astype(float)

    def ratio(drawn: NDArray[np.intp]) -> float:
        levels = [(foreseen * of)[drawn].sum() / (money * of)[drawn].sum() for of in (group, rest)]
        return float(levels[0] / levels[1])

    compared = Influenced.quotient(foreseen * group, money * group).over(
        Influenced.quotient(foreseen * rest, money * rest)
    )
    assert compared.value == pytest.approx(ratio(np.arange(ROWS)))
    assert compared.estimate.error == pytest.approx(bootstrapped(ratio), rel=0.1)


def test_the_same_scores_differ_by_nothing_and_surely() -> None:
    same = Influenced.auc(ONE, HAPPENED)
    assert same.less(Influenced.auc(2.0 * ONE, HAPPENED)).estimate.at(2.0) == (0.0, 0.0)


def test_nothing_over_nothing_is_no_number() -> None:
    nothing = np.zeros(3)
    assert math.isnan(Influenced.quotient(nothing, nothing).value)
    assert math.isnan(Influenced.quotient(np.ones(3), np.ones(3)).over(Influenced.quotient(nothing, np.ones(3))).value)
