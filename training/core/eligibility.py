"""Whether there is enough to learn from. A model trained on noise is worse than none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.core.errors import TrainingError

if TYPE_CHECKING:
    from training.core.dataset import Rows

MINIMUM_TRAINING = 100
"""Customers of each outcome to learn from: what Segment asks for."""

MINIMUM_TEST = 30
"""Customers of each outcome to test on: below this an interval says nothing."""


def require_both_outcomes(part: str, rows: Rows, label: str, minimum: int) -> None:
    """Raises TrainingError, with figures, where an outcome is too rare in this part of the data.

    Customers are counted and not rows: the same one at several snapshots is no more evidence than one.
    """
    outcome = rows.labels[label] > 0
    positives, negatives = (len(set(rows.customer_ids[mask])) for mask in (outcome, ~outcome))
    if min(positives, negatives) < minimum:
        widen = (
            "" if np.isnat(rows.dates).any() else "widen churn.active_days or churn.horizon_days, add snapshots, or "
        )
        raise TrainingError(
            f"the {part} holds {positives:,} customers with the outcome and {negatives:,} without it, and needs "
            f"{minimum} of each; {widen}wait for more data"
        )
