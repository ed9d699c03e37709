"""A tuned and calibrated LightGBM classifier: candidates by forward chaining, Platt on margins held out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np

from training.core.booster import FIXED, THREADS, data_of, margins, with_float32_thresholds
from training.core.dataset import design_matrix, in_graph_order
from training.core.errors import TrainingError
from training.core.platt import fit_line, sigmoid
from training.core.split import folds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from model_registry.schema import Feature
    from training.core.dataset import Rows
    from training.core.split import Fold

MOST_TREES = 800
PATIENCE = 40
"""Trees without a better log loss before a fold stops."""

LEARNING: dict[str, float | int | str] = {
    "objective": "binary",
    "metric": "binary_logloss",
    "learning_rate": 0.03,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
}
"""Slow and damped: a few thousand positives carry no more. Classes are never reweighted: AUC gains nothing by it
and the probabilities are lost."""

GRID: tuple[dict[str, float | int], ...] = tuple(
    {"num_leaves": leaves, "feature_fraction": share, "min_data_in_leaf": 50}
    for leaves in (4, 7, 15)
    for share in (0.3, 0.6)
)
"""From nearly additive to moderately interacting. What lies beyond overfits at this size."""


@dataclass(frozen=True)
class Calibrated:
    """A booster with float32 thresholds and the line that calibrates its margins.

    `slope` and `intercept` are float32 numbers, so that a graph keeps them exactly.
    """

    booster: lgb.Booster
    slope: float
    intercept: float

    def probabilities(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """The native model, in doubles: what the graph must reproduce."""
        return sigmoid(self.slope * margins(self.booster, matrix) + self.intercept)


@dataclass(frozen=True)
class Tuned:
    """What tuning found out.

    `parameters` and `trees` make the final booster; `held_out` are calibrated probabilities of the folds' held-out
    customers with their `outcomes`; `log_loss` is the winner's, uncalibrated, mean over folds.
    """

    model: Calibrated
    parameters: dict[str, float | int | str]
    trees: int
    log_loss: float
    held_out: NDArray[np.float64]
    outcomes: NDArray[np.float64]
    importances: dict[str, float]


@dataclass(frozen=True)
class _Trial:
    parameters: dict[str, float | int]
    trees: int
    log_loss: float
    margins: NDArray[np.float64]


def tune(
    rows: Rows, features: Sequence[Feature], label: str, horizon_days: int, progress: Callable[[str], None]
) -> Tuned:
    """Picks the grid's best by log loss on held-out folds, calibrates on the same folds, refits on all rows.

    Raises:
        TrainingError: no feature was worth a split, or the margins do not rank customers that were held out.
    """
    matrix, labels = design_matrix(rows.columns, features), rows.labels[label]
    ordered = in_graph_order(features)
    parts = folds(rows, label, horizon_days)
    trials = []
    # Candidates side by side on one thread each: fits this small spend more on meeting than on work.
    with ThreadPoolExecutor(THREADS) as pool:
        trying = pool.map(lambda parameters: _try(parameters, matrix, labels, ordered, parts), GRID)
        for number, trial in enumerate(trying, start=1):
            trials.append(trial)
            progress(f"tuning {number}/{len(GRID)}: held-out log loss {trial.log_loss:.4f}")
    best = min(trials, key=lambda trial: trial.log_loss)
    outcomes = np.concatenate([labels[held_out] for _, held_out in parts]).astype(np.float64)
    booster = lgb.train(
        {**FIXED, **LEARNING, **best.parameters}, data_of(matrix, labels, ordered), num_boost_round=best.trees
    )
    gains = booster.feature_importance("gain")
    if not gains.any():
        raise TrainingError(
            "no feature tells customers with the outcome from those without it; map more tables or columns in the "
            "project, or train again when there is more data"
        )
    slope, intercept = _calibrate(best.margins, outcomes)
    return Tuned(
        model=Calibrated(with_float32_thresholds(booster), slope, intercept),
        parameters={**LEARNING, **best.parameters},
        trees=best.trees,
        log_loss=best.log_loss,
        held_out=sigmoid(slope * best.margins + intercept),
        outcomes=outcomes,
        importances={feature.name: float(gain) for feature, gain in zip(ordered, gains / gains.sum(), strict=True)},
    )


def _try(
    parameters: dict[str, float | int],
    matrix: NDArray[np.float32],
    labels: NDArray[np.float32],
    features: Sequence[Feature],
    parts: Sequence[Fold],
) -> _Trial:
    trees, losses, held_out_margins = [], [], []
    for fit, held_out in parts:
        data = data_of(matrix[fit], labels[fit], features)
        booster = lgb.train(
            {**FIXED, **LEARNING, **parameters, "num_threads": 1},
            data,
            num_boost_round=MOST_TREES,
            valid_sets=[data_of(matrix[held_out], labels[held_out], features, reference=data)],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )
        trees.append(booster.best_iteration)
        losses.append(booster.best_score["valid_0"]["binary_logloss"])
        held_out_margins.append(margins(booster, matrix[held_out]))
    return _Trial(parameters, round(float(np.mean(trees))), float(np.mean(losses)), np.concatenate(held_out_margins))


def _calibrate(held_out: NDArray[np.float64], outcomes: NDArray[np.float64]) -> tuple[float, float]:
    slopes, intercepts = fit_line(held_out, outcomes, np.ones((1, len(outcomes))))
    slope, intercept = float(np.float32(slopes[0])), float(np.float32(intercepts[0]))
    if not slope > 0:
        raise TrainingError(
            f"the booster does not rank customers that it was not fitted on (calibration slope {slope:.2f}); "
            "map more tables or columns in the project, or train again when there is more data"
        )
    return slope, intercept
