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
    values = np.asarray(numbers, np.int64)
    known = np.array([names.get(number, str(number)) for number in range(max(names) + 1)], np.object_)
    named: NDArray[np.object_] = known.take(values, mode="clip")
    (later,) = np.nonzero((values < 0) | (values >= len(known)))
    named[later] = [str(number) for number in values[later].tolist()]
    return named


def status_names(statuses: Sequence[int]) -> NDArray[np.object_]:
    """`OK`, `INACTIVE` …."""
    return names_of(statuses, _STATUSES)
