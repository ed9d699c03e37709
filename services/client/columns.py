"""Enums as columns of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regulars.scoring.v1 import scoring_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_STATUSES: dict[int, str] = {
    number: name.removeprefix("SCORE_STATUS_") for name, number in scoring_pb2.ScoreStatus.items()
}


def names_of(numbers: Sequence[int], names: Mapping[int, str] | Mapping[int, str | None]) -> NDArray[np.object_]:
    """Each number's name. What only a later version names stays a number, in text."""
    # There are few names and many numbers.
    distinct, places = np.unique(np.asarray(numbers, np.int64), return_inverse=True)
    named: NDArray[np.object_] = np.array([names.get(number, str(number)) for number in distinct.tolist()], np.object_)
    return named[places]


def status_names(statuses: Sequence[int]) -> NDArray[np.object_]:
    """`OK`, `INACTIVE` …."""
    return names_of(statuses, _STATUSES)
