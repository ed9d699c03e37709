"""Comparing scores to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from model_registry.columns import Scores


def bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """What a comparison of floats hides: the sign of zero, and NaN that equals NaN."""
    assert values.dtype == np.float32
    return np.ascontiguousarray(values).view(np.uint32)


def assert_same_scores(one: Scores, other: Scores) -> None:
    np.testing.assert_array_equal(one.statuses, other.statuses)
    for floats, expected in ((one.values, other.values), (one.percentiles, other.percentiles)):
        _assert_by_name(
            {name: bits(values) for name, values in floats.items()}, {n: bits(v) for n, v in expected.items()}
        )
    _assert_by_name(one.bands, other.bands)
    assert [(warning.kind, warning.feature, warning.rows.tolist()) for warning in one.warnings] == [
        (warning.kind, warning.feature, warning.rows.tolist()) for warning in other.warnings
    ]


def _assert_by_name(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
