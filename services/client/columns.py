"""Enums as columns of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regulars.scoring.v1 import scoring_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

_STATUSES: dict[int, str] = {
    number: name.removeprefix("SCORE_STATUS_") for name, number in scoring_pb2.ScoreStatus.items()
}


def names_of(numbers: Iterable[int], names: Mapping[int, str] | Mapping[int, str | None]) -> NDArray[np.object_]:
    """Each number's name. What only a later version names stays a number, in text."""
    return np.array([names.get(number, str(number)) for number in numbers], np.object_)


def status_names(statuses: Iterable[int]) -> NDArray[np.object_]:
    """`OK`, `INACTIVE` …."""
    return names_of(statuses, _STATUSES)
