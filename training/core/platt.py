"""A logistic line through margins: it calibrates a booster, and its slope tells how calibrated one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEWTON_STEPS = 50
LONGEST_STEP = 1.0
"""In standard margins. A full step overshoots where outcomes are rare and margins skewed; the likelihood has one
summit, so shorter steps reach it all the same."""

CONVERGED = 1e-10
RIDGE = 1e-9
"""Keeps the curvature invertible where a resample separates its labels."""


def fit_line(
    margins: NDArray[np.float64], labels: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Maximum likelihood of P(label) = sigmoid(slope * margin + intercept), for many weightings at once.

    Platt, "Probabilistic outputs for support vector machines" (1999), without his label smoothing: with hundreds of
    labels it changes nothing, and without it the mean probability is exactly the base rate.

    Args:
        margins: (N,).
        labels: (N,), 0 or 1.
        weights: (R, N), one weighting a row.

    Returns:
        Slopes and intercepts, both (R,).
    """
    # Standardised margins keep the two unknowns of one size, which Newton's steps need.
    centre, scale = margins.mean(), margins.std() or 1.0
    standard = (margins - centre) / scale
    slope = np.zeros(len(weights))
    intercept = np.zeros(len(weights))
    for _ in range(NEWTON_STEPS):
        step = _newton_step(standard, labels, weights, slope, intercept)
        step /= np.maximum(1.0, np.abs(step).max(axis=0) / LONGEST_STEP)
        slope, intercept = slope + step[0], intercept + step[1]
        if np.abs(step).max() < CONVERGED:
            break
    return slope / scale, intercept - slope * centre / scale


def sigmoid(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-margin)), by tanh because it cannot overflow."""
    values: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * margins))
    return values


def _newton_step(
    margins: NDArray[np.float64],
    labels: NDArray[np.float64],
    weights: NDArray[np.float64],
    slope: NDArray[np.float64],
    intercept: NDArray[np.float64],
) -> NDArray[np.float64]:
    probability = sigmoid(slope[:, None] * margins + intercept[:, None])
    residual = weights * (labels - probability)
    curvature = weights * probability * (1.0 - probability)
    # The gradient and the two by two Hessian of the log likelihood, each entry (R,).
    gradient_slope, gradient_intercept = residual @ margins, residual.sum(axis=1)
    second = curvature @ margins**2 + RIDGE
    mixed = curvature @ margins
    first = curvature.sum(axis=1) + RIDGE
    determinant = second * first - mixed**2
    return np.stack(
        [
            (first * gradient_slope - mixed * gradient_intercept) / determinant,
            (second * gradient_intercept - mixed * gradient_slope) / determinant,
        ]
    )
