"""What can go wrong with a training."""

from __future__ import annotations


class TrainingError(Exception):
    """No model comes out of this training. The text says what is wrong, with figures, and what to do."""
