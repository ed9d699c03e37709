"""What a model was given, as numbers that a small learner takes, and what of it tells a group from the others.

A model never sees a sensitive attribute. It can mirror one, through inputs that go along with it, and those are what a
refit must be kept from, or told to make use of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from model_registry.columns import Columns
    from model_registry.schema import Schema

RARE = 20
"""A category of fewer customers has no column."""


@dataclass(frozen=True)
class Design:
    """The inputs of N customers: `matrix` (N, columns), every column of mean 0 and deviation 1.

    `features` (columns,) are the inputs that the columns were made of, a column or more of each that varies.
    """

    features: tuple[str, ...]
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, columns: Columns, schema: Schema) -> Design:
        """Logarithms against heavy tails, medians and a mark for missing numbers, categories as columns."""
        told = [*_numbers(columns, schema), *_categories(columns, schema)]
        varying = [(name, column) for name, column in told if column.min() < column.max()]
        scaled = [(column - column.mean()) / column.std() for _, column in varying]
        return cls(tuple(name for name, _ in varying), np.array(scaled).reshape(-1, len(columns)).T)

    def without(self, features: Collection[str]) -> Design:
        """As if the model were not given these."""
        kept = np.array([name not in features for name in self.features], bool)
        return Design(tuple(name for name in self.features if name not in features), self.matrix[:, kept])

    def telling(self, members: NDArray[np.bool_], others: NDArray[np.bool_]) -> dict[str, float]:
        """How well each input alone tells members from others, both (N,), the best first.

        The chance that a member's value is the higher, or the lower where that is likelier: 0.5 tells nothing, 1 all.
        """
        either = members | others
        count, rest = int(members.sum()), int(others.sum())
        ranks = rankdata(self.matrix[either], axis=0)[members[either]]
        beaten = (ranks.mean(axis=0) - (count + 1) / 2.0) / rest
        told: dict[str, float] = {}
        for name, chance in zip(self.features, np.maximum(beaten, 1.0 - beaten).tolist(), strict=True):
            told[name] = max(chance, told.get(name, 0.0))
        return dict(sorted(told.items(), key=lambda one: -one[1]))


def _numbers(columns: Columns, schema: Schema) -> Iterator[tuple[str, NDArray[np.float64]]]:
    for feature, values in zip(schema.numeric, columns.numeric.T.astype(np.float64), strict=True):
        missing = np.isnan(values)
        if missing.all():
            continue
        filled = np.where(missing, np.median(values[~missing]), values)
        yield feature.name, np.sign(filled) * np.log1p(np.abs(filled))
        yield feature.name, missing.astype(np.float64)


def _categories(columns: Columns, schema: Schema) -> Iterator[tuple[str, NDArray[np.float64]]]:
    for feature, values in zip(schema.categorical, columns.categorical.T, strict=True):
        for category in sorted(set(values.tolist())):
            held = (values == category).astype(np.float64)
            if held.sum() >= RARE:
                yield feature.name, held
