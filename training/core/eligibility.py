"""Whether there is enough to learn from. A model trained on noise is worse than none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.core.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MINIMUM_TRAINING = 100
"""Rows of each outcome to learn from: what Segment asks for."""

MINIMUM_TEST = 30
"""Rows of each outcome to test on: below this an interval says nothing."""


def require_both_outcomes(part: str, labels: NDArray[np.float32], minimum: int) -> None:
    """Raises TrainingError, with figures, where an outcome is too rare in this part of the data."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if min(positives, negatives) < minimum:
        raise TrainingError(
            f"the {part} holds {positives:,} rows with the outcome and {negatives:,} without it, and needs "
            f"{minimum} of each; widen churn.active_days or churn.horizon_days, add snapshots, or wait for more data"
        )
