"""A tuned and calibrated LightGBM classifier: candidates by forward chaining, Platt on margins held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.core.booster import margins
from training.core.dataset import design_matrix, in_graph_order
from training.core.errors import TrainingError
from training.core.platt import fit_line, sigmoid
from training.core.search import Problem, refit, search
from training.core.split import folds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import lightgbm as lgb
    from numpy.typing import NDArray

    from model_registry.schema import Feature
    from training.core.dataset import Rows
    from training.core.search import Parameters

LEARNING: Parameters = {
    "objective": "binary",
    "metric": "binary_logloss",
    "learning_rate": 0.03,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
}
"""Slow and damped: a few thousand positives carry no more. Classes are never reweighted: AUC gains nothing by it
and the probabilities are lost."""

GRID: tuple[Parameters, ...] = tuple(
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

    `parameters` and `trees` make the final booster, `candidate` is what the grid gave of them; `held_out` are
    calibrated probabilities of the folds' held-out customers with their `outcomes`; `log_loss` is the winner's,
    uncalibrated, mean over folds.
    """

    model: Calibrated
    parameters: Parameters
    candidate: Parameters
    trees: int
    log_loss: float
    held_out: NDArray[np.float64]
    outcomes: NDArray[np.float64]
    importances: dict[str, float]


def tune(
    rows: Rows,
    features: Sequence[Feature],
    label: str,
    horizon_days: int,
    progress: Callable[[str], None],
    grid: Sequence[Parameters] = GRID,
) -> Tuned:
    """Picks the grid's best by log loss on held-out folds, calibrates on the same folds, refits on all rows.

    Raises:
        TrainingError: no feature was worth a split, or the margins do not rank customers that were held out.
    """
    problem = Problem(
        design_matrix(rows.columns, features),
        rows.labels[label],
        in_graph_order(features),
        LEARNING,
        folds(rows, label, horizon_days),
    )
    best = search(problem, grid, lambda line: progress(f"tuning {label} {line}"))
    fit = refit(problem, best)
    slope, intercept = _calibrate(best.margins, problem.outcomes)
    return Tuned(
        model=Calibrated(fit.booster, slope, intercept),
        parameters={**LEARNING, **best.parameters},
        candidate=best.parameters,
        trees=best.trees,
        log_loss=best.loss,
        held_out=sigmoid(slope * best.margins + intercept),
        outcomes=problem.outcomes,
        importances=fit.importances,
    )


def _calibrate(held_out: NDArray[np.float64], outcomes: NDArray[np.float64]) -> tuple[float, float]:
    slopes, intercepts = fit_line(held_out, outcomes, np.ones((1, len(outcomes))))
    slope, intercept = float(np.float32(slopes[0])), float(np.float32(intercepts[0]))
    if not slope > 0:
        raise TrainingError(
            f"the booster does not rank customers that it was not fitted on (calibration slope {slope:.2f}); "
            "map more tables or columns in the project, or train again when there is more data"
        )
    return slope, intercept
