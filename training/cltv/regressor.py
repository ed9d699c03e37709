"""The lifetime value model: a Tweedie booster at the level of its customers, between two quantile boosters.

All are tuned by folds over customers. Walking forward, as churn does, leaves a horizon of months one fold at best, and
what is calibrated on it is a booster that saw a fraction of the rows. What moves from one snapshot to the next is the
level, and so level and bounds are read off the newest one alone, on customers who were held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.core.amounts import Amounts, Foreseen, Line
from training.core.conformal import lower_offset, upper_offset
from training.core.dataset import design_matrix, in_graph_order
from training.core.errors import TrainingError
from training.core.level import fit_log_line
from training.core.search import Problem, refit, search
from training.core.split import customer_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from model_registry.schema import Feature
    from training.core.dataset import Rows
    from training.core.search import Parameters, Trial
    from training.core.split import Fold

    Progress = Callable[[str], None]

INTERVAL_LEVEL = 0.8
TAIL = (1.0 - INTERVAL_LEVEL) / 2.0

DAMPED: Parameters = {
    "learning_rate": 0.05,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "min_data_in_leaf": 50,
}
LEARNING: Parameters = {**DAMPED, "objective": "tweedie", "metric": "poisson"}
"""Likelihoods of different powers cannot be compared; the Poisson one ranks means rightly, whatever the power."""

GRID: tuple[Parameters, ...] = tuple(
    {"tweedie_variance_power": power, "num_leaves": leaves} for power in (1.1, 1.5, 1.9) for leaves in (4, 7)
)
"""From many small amounts to few large ones, from nearly additive to moderately interacting."""

BOUND_LEARNING: Parameters = {**DAMPED, "objective": "quantile", "metric": "quantile"}
BOUND_GRID: tuple[Parameters, ...] = ({"num_leaves": 4}, {"num_leaves": 7})


@dataclass(frozen=True)
class Tuned:
    """What tuning found out.

    `held_out` are the expected amounts of the newest snapshot's customers, by boosters that did not know them, and
    `coverage` is the share of these customers whose amount lay within the bounds.
    """

    amounts: Amounts
    parameters: Parameters
    held_out: NDArray[np.float64]
    coverage: float
    importances: dict[str, float]


def tune(
    rows: Rows,
    features: Sequence[Feature],
    label: str,
    progress: Progress,
    grid: Sequence[Parameters] = GRID,
) -> Tuned:
    """Tunes, levels and bounds. The labels are amounts: none is below zero, and some of the newest are above.

    Raises:
        TrainingError: no feature was worth a split, or the booster does not rank customers who were held out.
    """
    bench = _Bench.of(rows, features, label, progress)
    expected = _expected(bench, grid)
    lower = _bound(bench, "lower", TAIL, lower_offset, expected.held_out)
    upper = _bound(bench, "upper", 1.0 - TAIL, upper_offset, expected.held_out)
    foreseen = Foreseen.from_lines(expected.held_out, lower.held_out, upper.held_out)
    return Tuned(
        amounts=Amounts(expected.line, lower.line, upper.line),
        parameters={**LEARNING, **expected.parameters, **lower.parameters, **upper.parameters},
        held_out=foreseen.expected,
        coverage=float(foreseen.covers(bench.outcomes).mean()),
        importances=expected.importances,
    )


@dataclass(frozen=True)
class _Bench:
    """What the three boosters share: rows, folds, and which of the held-out rows are of the newest snapshot."""

    matrix: NDArray[np.float32]
    amounts: NDArray[np.float64]
    features: tuple[Feature, ...]
    folds: Sequence[Fold]
    newest: NDArray[np.bool_]
    progress: Progress

    @classmethod
    def of(cls, rows: Rows, features: Sequence[Feature], label: str, progress: Progress) -> _Bench:
        folds = customer_folds(rows, label)
        dates = np.concatenate([rows.dates[held_out] for _, held_out in folds])
        return cls(
            matrix=design_matrix(rows.columns, features),
            amounts=rows.labels[label].astype(np.float64),
            features=in_graph_order(features),
            folds=folds,
            newest=dates == rows.dates.max(),
            progress=progress,
        )

    @property
    def outcomes(self) -> NDArray[np.float64]:
        """The amounts of the newest held-out customers."""
        return np.concatenate([self.amounts[held_out] for _, held_out in self.folds])[self.newest]

    def search(
        self, name: str, labels: NDArray[np.float64], learning: Parameters, grid: Sequence[Parameters]
    ) -> tuple[Problem, Trial]:
        """The problem of these labels (N,), and the grid's best on the folds."""
        problem = Problem(self.matrix, labels.astype(np.float32), self.features, learning, self.folds)
        return problem, search(problem, grid, lambda line: self.progress(f"tuning {name} {line}"))


@dataclass(frozen=True)
class _Head:
    """One of the three: its line, and where the line lay for the newest held-out customers."""

    line: Line
    held_out: NDArray[np.float64]
    parameters: Parameters
    importances: dict[str, float]


def _expected(bench: _Bench, grid: Sequence[Parameters]) -> _Head:
    # In units of their mean, amounts of any currency are damped alike, and margins lie where floats are dense.
    problem, trial = bench.search("expected value", bench.amounts / bench.amounts.mean(), LEARNING, grid)
    fit = refit(problem, trial)
    margins = trial.margins[bench.newest]
    slope, intercept = fit_log_line(margins, bench.outcomes)
    if not slope > 0:
        raise TrainingError(
            f"the booster does not rank customers that it was not fitted on (slope of its level {slope:.2f}); "
            "map more tables or columns in the project, or train again when there is more data"
        )
    line = Line.rounded(fit.booster, slope, intercept)
    return _Head(line, line.along(margins), {**trial.parameters, "trees": trial.trees}, fit.importances)


def _bound(
    bench: _Bench, side: str, quantile: float, offset: Callable[..., float], expected: NDArray[np.float64]
) -> _Head:
    """Quantiles pass through logarithms unharmed, and there an error means the same for small amounts and large."""
    logarithms = np.log1p(bench.amounts)
    centre = float(logarithms.mean())
    learning = {**BOUND_LEARNING, "alpha": quantile}
    problem, trial = bench.search(f"{side} bound", logarithms - centre, learning, BOUND_GRID)
    # Where most spend nothing, that is the lower bound of everybody.
    fit = refit(problem, trial, may_be_constant=True)
    bounds = trial.margins[bench.newest] + centre
    moved = offset(np.log1p(bench.outcomes), bounds, np.log1p(np.exp(expected)), TAIL)
    parameters = {f"{side}_{name}": value for name, value in {**trial.parameters, "trees": trial.trees}.items()}
    return _Head(Line.rounded(fit.booster, 1.0, centre + moved), bounds + moved, parameters, fit.importances)
