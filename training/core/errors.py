"""What can go wrong with a training."""

from __future__ import annotations


class TrainingError(Exception):
    """No model comes out of this training. The text says what is wrong, with figures, and what to do."""


class NotEligibleError(TrainingError):
    """The business does not have, or not yet, what this model is learnt from; nothing is broken.

    The text says what there is and what is needed.
    """
