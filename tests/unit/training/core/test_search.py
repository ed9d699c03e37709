"""The search is the same every time, and refuses what tells nobody apart only where that is of no use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
import pytest

from model_registry.schema import Feature
from training.core import search as module
from training.core.booster import margins
from training.core.errors import TrainingError
from training.core.search import Problem, refit, search

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.core.search import Parameters

RANDOM = np.random.default_rng(4)
FEATURES = (Feature("a", "numeric"), Feature("b", "numeric"))
GRID: tuple[Parameters, ...] = ({"num_leaves": 4}, {"num_leaves": 7}, {"num_leaves": 15})


def problem(matrix: np.ndarray) -> Problem:
    labels = (matrix[:, 0] + RANDOM.normal(0, 0.1, len(matrix))).astype(np.float32)
    rows = np.arange(len(matrix))
    folds = [(rows[rows % 2 == part], rows[rows % 2 != part]) for part in (0, 1)]
    return Problem(matrix, labels, FEATURES, {"objective": "regression", "metric": "l2"}, folds)


@dataclass
class Recording:
    """LightGBM, with a note of the threads that each training asks for."""

    asked: list[int]
    early_stopping: Callable[..., Any] = lgb.early_stopping

    def train(self, parameters: dict[str, Any], *args: Any, **kwargs: Any) -> lgb.Booster:
        self.asked.append(parameters["num_threads"])
        return lgb.train(parameters, *args, **kwargs)


def test_no_call_asks_for_more_than_one_thread_while_candidates_run_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LightGBM keeps their number for the whole process; a change while others train moves sums, or worse."""
    asked: list[int] = []

    def predict(booster: lgb.Booster, matrix: np.ndarray, threads: int) -> np.ndarray:
        asked.append(threads)
        return margins(booster, matrix, threads)

    monkeypatch.setattr(module, "margins", predict)
    monkeypatch.setattr(module, "lgb", Recording(asked))
    search(problem(RANDOM.normal(size=(300, 2)).astype(np.float32)), GRID, lambda _: None)
    assert asked == [1] * (2 * 2 * len(GRID))


def test_what_says_the_same_of_everybody_is_refused_unless_that_will_do() -> None:
    same = problem(np.ones((300, 2), np.float32))
    trial = search(same, GRID[:1], lambda _: None)
    with pytest.raises(TrainingError, match="no feature tells customers apart"):
        refit(same, trial)
    fit = refit(same, trial, may_be_constant=True)
    assert len(np.unique(margins(fit.booster, same.matrix))) == 1
    assert set(fit.importances.values()) == {0.0}
