"""A line through log margins that brings foreseen amounts to the level of the amounts that came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEWTON_STEPS = 50
LONGEST_STEP = 1.0
"""In standard margins: a full step from afar would overshoot, for the likelihood is steep on one side."""

CONVERGED = 1e-10
RIDGE = 1e-9
"""Keeps the curvature invertible where all margins are one."""


def fit_log_line(margins: NDArray[np.float64], amounts: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of greatest Poisson likelihood for a mean of exp(slope * margin + intercept).

    Whatever the amounts' distribution, this likelihood's summit is where two sums come out exactly: that of the
    amounts, and that of the amounts times their margins (Gourieroux, Monfort and Trognon, "Pseudo maximum likelihood
    methods: applications to Poisson models", 1984). So the total is right, for low margins as for high ones.

    Args:
        margins: (N,).
        amounts: (N,), none below zero, not all zero.
    """
    centre, scale = margins.mean(), margins.std() or 1.0
    design = np.stack([(margins - centre) / scale, np.ones(len(margins))])
    line = np.array([0.0, np.log(amounts.mean())])
    for _ in range(NEWTON_STEPS):
        mean = np.exp(line @ design)
        curvature = (design * mean) @ design.T + RIDGE * amounts.mean() * len(amounts) * np.eye(2)
        step = np.linalg.solve(curvature, design @ (amounts - mean))
        step /= max(1.0, np.abs(step).max() / LONGEST_STEP)
        line += step
        if np.abs(step).max() < CONVERGED:
            break
    slope, intercept = line.tolist()
    return slope / scale, intercept - slope * centre / scale
