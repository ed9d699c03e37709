"""Customers on their way into a graph, and scores on their way out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from model_registry.schema import Status

T = TypeVar("T", bound=np.generic)

WarningKind = Literal["out_of_range", "unseen_category"]

MISSING_CATEGORY = ""
"""How the graph spells a missing category. It is in no vocabulary, so the trees send it the way of NaN."""


@dataclass(frozen=True, slots=True)
class Columns:
    """N customers in the order of a schema.

    `numeric` is float32 of shape (N, numeric features), NaN where missing; `categorical` is an object array of
    str of shape (N, categorical features), `MISSING_CATEGORY` where missing.
    """

    numeric: NDArray[np.float32]
    categorical: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.numeric)

    @classmethod
    def concatenate(cls, parts: Sequence[Columns]) -> Columns:
        """The customers of one after those of the other."""
        return cls(
            np.concatenate([part.numeric for part in parts]), np.concatenate([part.categorical for part in parts])
        )

    def slice(self, start: int, stop: int) -> Columns:
        return Columns(self.numeric[start:stop], self.categorical[start:stop])

    def take(self, rows: NDArray[np.intp]) -> Columns:
        return Columns(self.numeric.take(rows, axis=0), self.categorical.take(rows, axis=0))


@dataclass(frozen=True, slots=True)
class ColumnWarning:
    """Something a caller should know: `rows` are ascending indexes of the customers it concerns."""

    kind: WarningKind
    feature: str
    rows: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Score:
    """What a servable says of one customer: `Scores` of a single row, without arrays.

    `values`, `percentiles` and `bands` are by output name, and empty where `status` is not `Status.OK`; `warnings`
    are pairs of kind and feature.
    """

    status: Status
    values: Mapping[str, float]
    percentiles: Mapping[str, float]
    bands: Mapping[str, int]
    warnings: tuple[tuple[WarningKind, str], ...]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a servable says of N customers; every array has N entries.

    `values`, `percentiles` (0 to 100) and `bands` (index into the output's bands) are by output name. Where
    `statuses` is not `Status.OK`, values and percentiles are NaN and bands are -1. `warnings` are sorted by kind
    and feature.
    """

    statuses: NDArray[np.uint8]
    values: Mapping[str, NDArray[np.float32]]
    percentiles: Mapping[str, NDArray[np.float32]]
    bands: Mapping[str, NDArray[np.int8]]
    warnings: tuple[ColumnWarning, ...]

    def __len__(self) -> int:
        return len(self.statuses)

    @classmethod
    def of_one(cls, score: Score, outputs: Collection[str]) -> Scores:
        """The scores of a single customer; `outputs` are the names of all."""
        return cls(
            statuses=np.array([score.status], np.uint8),
            values={name: np.array([score.values.get(name, math.nan)], np.float32) for name in outputs},
            percentiles={name: np.array([score.percentiles.get(name, math.nan)], np.float32) for name in outputs},
            bands={name: np.array([score.bands.get(name, -1)], np.int8) for name in outputs},
            warnings=tuple(ColumnWarning(kind, feature, np.zeros(1, np.intp)) for kind, feature in score.warnings),
        )

    @classmethod
    def concatenate(cls, parts: list[Scores]) -> Scores:
        """The scores of consecutive slices, as if they had been scored at once."""
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0] + [len(part) for part in parts[:-1]])
        rows: dict[tuple[WarningKind, str], list[NDArray[np.intp]]] = {}
        for start, part in zip(starts, parts, strict=True):
            for warning in part.warnings:
                rows.setdefault((warning.kind, warning.feature), []).append(warning.rows + start)
        return cls(
            statuses=np.concatenate([part.statuses for part in parts]),
            values=_concatenate_by_name([part.values for part in parts]),
            percentiles=_concatenate_by_name([part.percentiles for part in parts]),
            bands=_concatenate_by_name([part.bands for part in parts]),
            warnings=tuple(
                ColumnWarning(kind, feature, np.concatenate(pieces)) for (kind, feature), pieces in sorted(rows.items())
            ),
        )


def _concatenate_by_name(parts: list[Mapping[str, NDArray[T]]]) -> dict[str, NDArray[T]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
