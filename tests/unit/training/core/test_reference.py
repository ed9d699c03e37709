"""Quantiles that percentiles are read off."""

from __future__ import annotations

import numpy as np

from model_registry.schema import QUANTILES
from training.core.reference import quantiles


def test_the_reference_ascends_from_the_lowest_score_to_the_highest() -> None:
    scores = np.random.default_rng(0).random(500)
    reference = quantiles(scores)
    assert len(reference) == QUANTILES
    assert (reference[0], reference[-1]) == (scores.min(), scores.max())
    assert list(reference) == sorted(reference)
