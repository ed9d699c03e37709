"""Conformal offsets: how far bounds must move so that as many customers lie beyond them as they say.

Romano, Patterson and Candès, "Conformalized quantile regression" (2019), each side for itself (theorem 2). Here the
customers that calibrate were held out of folds, and the bounds are those that are served: none beyond the expected
amount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HAIR = 1e-4
"""Bounds keep this far from the amount that decides them. Where many customers share it, as nothing at all or the price
of a subscription, the last bit of a float would otherwise decide whether all of them lie within."""


def lower_offset(
    amounts: NDArray[np.float64], bounds: NDArray[np.float64], expected: NDArray[np.float64], tail: float
) -> float:
    """What to add to lower bounds (N,), so that at most `tail` of the amounts (N,) fall below them.

    Zero where fewer than that fall below even the expected amounts (N,), which cap the bounds: any offset then holds.
    """
    # Who spent what was expected lies within, wherever the bound is.
    room = np.where(amounts < expected, amounts - bounds, np.inf)
    place = int(tail * (len(room) + 1)) - 1
    decisive = float(np.partition(room, place)[place])
    return decisive - HAIR if np.isfinite(decisive) else 0.0


def upper_offset(
    amounts: NDArray[np.float64], bounds: NDArray[np.float64], expected: NDArray[np.float64], tail: float
) -> float:
    """The mirror image of `lower_offset`."""
    return -lower_offset(-amounts, -bounds, -expected, tail)
