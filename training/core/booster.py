"""LightGBM boosters that decide in float32.

A booster keeps its thresholds as doubles; a graph keeps floats. A customer whose float32 value lies between the two
would go left in one and right in the other. The largest float32 that is not above a threshold splits float32 values
exactly as the double did, so every booster is rewritten to such thresholds and both models decide alike.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING

# Before the first import: OpenMP reads it once. Threads that spin while they wait take the core from those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import lightgbm as lgb
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model_registry.schema import Feature

THREADS = min(4, os.cpu_count() or 1)
"""A few ten thousand rows gain nothing from more."""

FIXED = {
    "boosting": "gbdt",
    "num_threads": THREADS,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 7,
    "verbosity": -1,
}
"""Parameters of every booster. Random forests, linear trees and zero as missing export silently wrong."""

LEAF_GRID = 2.0**-18
"""Steps of four millionths: a float holds multiples of them exactly up to 64, far beyond any margin in logarithms."""

_CATEGORICAL_SPLIT = 1
"""The bit of `decision_type` that marks a split by category; its threshold is an index."""

_BELOW_ZERO = -float(np.float32(1e-35))
"""LightGBM's edge between negative values and zero. It takes a value on the edge for zero, whose side is above."""

_SIZES = re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
_THRESHOLDS = re.compile(r"^threshold=(.*)$", re.MULTILINE)
_LEAVES = re.compile(r"^leaf_value=(.*)$", re.MULTILINE)
_SPLITS = re.compile(
    r"^split_feature=(?P<features>.*)\n(?:.*\n)*?threshold=(?P<thresholds>.*)\ndecision_type=(?P<kinds>.*)$",
    re.MULTILINE,
)


def data_of(
    matrix: NDArray[np.float32],
    labels: NDArray[np.float32],
    features: Sequence[Feature],
    reference: lgb.Dataset | None = None,
) -> lgb.Dataset:
    """LightGBM's view of a design matrix; `features` are in its order. `reference` gives the bins, if any."""
    categorical = [position for position, feature in enumerate(features) if feature.kind == "categorical"]
    # LightGBM warns of every -1 and means what we mean: missing.
    values = matrix.copy()
    values[:, categorical] = np.where(values[:, categorical] < 0, np.nan, values[:, categorical])
    return lgb.Dataset(
        values,
        labels,
        reference=reference,
        categorical_feature=categorical,
        feature_name=[f"f{position}" for position in range(len(features))],
        params={"verbosity": -1},
        free_raw_data=False,
    )


def margins(booster: lgb.Booster, matrix: NDArray[np.float32], threads: int = THREADS) -> NDArray[np.float64]:
    """Raw scores (N,), before any link."""
    return np.asarray(booster.predict(matrix, raw_score=True, num_threads=threads), np.float64)


def with_float32_thresholds(booster: lgb.Booster) -> lgb.Booster:
    """The same booster with every threshold a float32; float32 rows route as they did, in LightGBM and in a graph."""
    # The sizes of the trees' texts change; without the line LightGBM reads them one after the other.
    text = _SIZES.sub("", booster.model_to_string(num_iteration=-1))
    return lgb.Booster(model_str=_THRESHOLDS.sub(_floored_line, text))


def with_exact_sums(booster: lgb.Booster) -> lgb.Booster:
    """The same booster with leaves on `LEAF_GRID`, so that a graph's floats add trees up without any rounding.

    A margin moves by half a step of the grid a tree at most. Where it goes through an exponential, as amounts do, the
    roundings of a few hundred float sums would be felt.
    """
    text = _SIZES.sub("", booster.model_to_string(num_iteration=-1))
    return lgb.Booster(model_str=_LEAVES.sub(_gridded_line, text))


def floor_to_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float32)
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def thresholds(*boosters: lgb.Booster) -> Mapping[int, NDArray[np.float32]]:
    """The distinct thresholds of every numeric feature that any of the trees splits on, by column of the matrix."""
    found: dict[int, set[float]] = defaultdict(set)
    for match in chain.from_iterable(_SPLITS.finditer(one.model_to_string(num_iteration=-1)) for one in boosters):
        splits = (match[name].split() for name in ("features", "thresholds", "kinds"))
        for feature, threshold, kind in zip(*splits, strict=True):
            if not int(kind) & _CATEGORICAL_SPLIT:
                found[int(feature)].add(float(threshold))
    return {feature: np.array(sorted(values), np.float32) for feature, values in sorted(found.items())}


def _gridded_line(match: re.Match[str]) -> str:
    values = np.round(np.array(match[1].split(), np.float64) / LEAF_GRID) * LEAF_GRID
    return "leaf_value=" + " ".join(repr(float(value)) for value in values)


def _floored_line(match: re.Match[str]) -> str:
    values = floor_to_float32(np.array(match[1].split(), np.float64))
    # A graph compares what LightGBM rounds, so the edge itself must lie above the threshold.
    values = np.where(values == _BELOW_ZERO, np.nextafter(values, np.float32(-np.inf)), values)
    return "threshold=" + " ".join(repr(float(value)) for value in values)
