"""The small learners that a refit is tried with: fitted in milliseconds, to what a model was given and what came of it.

What came in a group can be lifted: its odds, or its amounts, are taken to be so many times what they were. A learner
that cannot tell the group by its inputs sees a change of level in that, which is put right again; as far as it can, it
says more or less of the group's customers. So one number a group is the price of a constraint on that group (Agarwal et
al., "A reductions approach to fair classification", 2018), and the learner need not know what is asked of it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from audits.statistics import HALVINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOSENESS = 0.03
"""Of the logistic regression, against the sum over customers: scikit-learn's C."""

TIGHTNESS = 0.01
"""Of the Poisson regression, against the mean over customers: scikit-learn's alpha."""

STEEPEST = 50.0
"""Log odds beyond which a probability is 0 or 1 to a double."""


class Learner(Protocol):
    """Fits anew from where it stood, so that a small change takes few steps.

    `matrix` is (n, columns), `came` (n,) what it learns to say, `lift` (n,) how many times the odds or the amount of it
    is taken; it may be as large, and as small, as one likes.
    """

    name: ClassVar[str]

    def fit(self, matrix: NDArray[np.float64], came: NDArray[np.float64], lift: NDArray[np.float64]) -> None: ...

    def say(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """At the level of all that came, whatever was lifted."""


class Logistic:
    """Implements `Learner` for outcomes, 0 or 1: says how likely they are."""

    name: ClassVar[str] = "logistic regression"

    def __init__(self) -> None:
        self._model = LogisticRegression(C=LOOSENESS, solver="newton-cholesky", warm_start=True)
        self._level = 0.0

    def fit(self, matrix: NDArray[np.float64], came: NDArray[np.float64], lift: NDArray[np.float64]) -> None:
        root = np.sqrt(lift)
        _quietly_fit(self._model, matrix, came, np.where(came > 0, root, 1.0 / root))
        self._level = _level(self._model.decision_function(matrix), float(came.mean()))

    def say(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        said: NDArray[np.float64] = expit(self._model.decision_function(matrix) + self._level)
        return said


class Poisson:
    """Implements `Learner` for amounts, none of them negative: says how much to expect."""

    name: ClassVar[str] = "Poisson regression"

    def __init__(self) -> None:
        self._model = PoissonRegressor(alpha=TIGHTNESS, solver="newton-cholesky", warm_start=True)
        self._level = 1.0

    def fit(self, matrix: NDArray[np.float64], came: NDArray[np.float64], lift: NDArray[np.float64]) -> None:
        lifted = came * lift
        _quietly_fit(self._model, matrix, lifted / lifted.mean(), 1.0 / np.sqrt(lift))
        self._level = float(came.sum() / self._model.predict(matrix).sum())

    def say(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        said: NDArray[np.float64] = self._level * self._model.predict(matrix)
        return said


def _quietly_fit(
    model: LogisticRegression | PoissonRegressor,
    matrix: NDArray[np.float64],
    target: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> None:
    with warnings.catch_warnings():
        # Newton's method says so where it starts at its end, and another goes on.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(matrix, target, sample_weight=weights)


def _level(odds: NDArray[np.float64], rate: float) -> float:
    """What to add to log odds (n,) so that the probabilities have the mean `rate`."""
    low, high = -STEEPEST, STEEPEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if expit(odds + middle).mean() < rate else (low, middle)
    return (low + high) / 2.0
