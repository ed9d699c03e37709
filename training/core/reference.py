"""The reference base of an output: what its percentiles are read off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.schema import QUANTILES

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERCENTS = np.linspace(0.0, 100.0, QUANTILES)


def quantiles(scores: NDArray[np.float64]) -> tuple[float, ...]:
    """The `QUANTILES` quantiles of scores (N,), ascending."""
    # Interpolation may miss the order by the last bit.
    return tuple(np.maximum.accumulate(np.percentile(scores, PERCENTS)).tolist())
