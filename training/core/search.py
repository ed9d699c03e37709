"""The search for a booster: every candidate is tried on the same held-out folds, the best is fitted on all rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np

from training.core.booster import FIXED, THREADS, data_of, margins, with_float32_thresholds
from training.core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from model_registry.schema import Feature
    from training.core.split import Fold

    Parameters = dict[str, float | int | str]

MOST_TREES = 800
PATIENCE = 40
"""Trees without a better loss before a fold stops."""

ROWS_A_THREAD = 100_000
"""Fewer rows gain nothing from a second thread. On a machine with other work, where threads spin while they wait for
each other, they lose by it: a tenth of a second became ten."""


@dataclass(frozen=True)
class Problem:
    """What boosters are fitted to.

    `matrix` is (N, features), `labels` (N,); `features` are in the matrix's order. `learning` are the parameters of
    every candidate, `objective` and `metric` among them. `folds` are what candidates are tried on.
    """

    matrix: NDArray[np.float32]
    labels: NDArray[np.float32]
    features: Sequence[Feature]
    learning: Parameters
    folds: Sequence[Fold]

    @property
    def outcomes(self) -> NDArray[np.float64]:
        """The labels of the held-out rows, fold after fold."""
        return np.concatenate([self.labels[held_out] for _, held_out in self.folds]).astype(np.float64)


@dataclass(frozen=True)
class Trial:
    """How a candidate did: its `loss` is the mean over folds, `margins` are those of the held-out rows."""

    parameters: Parameters
    trees: int
    loss: float
    margins: NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """A booster with float32 thresholds, and each feature's share of what its splits gained."""

    booster: lgb.Booster
    importances: dict[str, float]


def search(problem: Problem, grid: Sequence[Parameters], announce: Callable[[str], None]) -> Trial:
    """The candidate of least loss; `announce` gets a line for each."""
    trials = []
    # Candidates side by side on one thread each: fits this small spend more on meeting than on work.
    with ThreadPoolExecutor(THREADS) as pool:
        trying = pool.map(lambda parameters: _try(problem, parameters), grid)
        for number, trial in enumerate(trying, start=1):
            trials.append(trial)
            announce(f"{number}/{len(grid)}: held-out {problem.learning['metric']} {trial.loss:.4f}")
    return min(trials, key=lambda trial: trial.loss)


def refit(problem: Problem, trial: Trial, *, may_be_constant: bool = False) -> Fit:
    """The trial's booster, on all rows.

    Raises:
        TrainingError: no feature was worth a split, and what says the same of everybody will not do.
    """
    booster = lgb.train(
        {
            **FIXED,
            **problem.learning,
            **trial.parameters,
            "num_threads": min(THREADS, -(-len(problem.matrix) // ROWS_A_THREAD)),
        },
        data_of(problem.matrix, problem.labels, problem.features),
        num_boost_round=trial.trees,
    )
    gains = booster.feature_importance("gain")
    if not gains.any() and not may_be_constant:
        raise TrainingError(
            "no feature tells customers apart in what they did next; map more tables or columns in the project, or "
            "train again when there is more data"
        )
    shares = {
        feature.name: float(gain) for feature, gain in zip(problem.features, gains / (gains.sum() or 1.0), strict=True)
    }
    return Fit(with_float32_thresholds(booster), shares)


def _try(problem: Problem, parameters: Parameters) -> Trial:
    trees, losses, held_out_margins = [], [], []
    for fit, held_out in problem.folds:
        data = data_of(problem.matrix[fit], problem.labels[fit], problem.features)
        booster = lgb.train(
            {**FIXED, **problem.learning, **parameters, "num_threads": 1},
            data,
            num_boost_round=MOST_TREES,
            valid_sets=[data_of(problem.matrix[held_out], problem.labels[held_out], problem.features, reference=data)],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )
        trees.append(booster.best_iteration)
        losses.append(booster.best_score["valid_0"][str(problem.learning["metric"])])
        # LightGBM counts threads once for the process: more of them here would change sums, and so splits, elsewhere.
        held_out_margins.append(margins(booster, problem.matrix[held_out], threads=1))
    return Trial(parameters, round(float(np.mean(trees))), float(np.mean(losses)), np.concatenate(held_out_margins))
