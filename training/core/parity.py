"""The parity certificate: the exported graph says what the native model says, where it is hardest.

The law: for every row, |graph - native| <= 1e-5 * max(1, |native|). For probabilities that is absolute, for
quantities above one it is relative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.columns import MISSING_CATEGORY, Columns
from model_registry.evidence import Parity
from training.core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from model_registry.schema import Schema
    from model_registry.servable import Servable
    from training.core.pipeline import Fitted

    Native = Callable[[Columns], Mapping[str, NDArray[np.float64]]]

LIMIT = 1e-5
ROWS_A_FEATURE = 20
SEED = 11
UNSEEN_CATEGORY = "never seen in training"
EXTREMES = np.array([0.0, -0.0, 1.0, -1.0, 1e-38, 1e9, -1e9, 3e38, -3e38], np.float32)


def certify(servable: Servable, fitted: Fitted, holdout: Columns) -> Parity:
    """Compares the two on the holdout and on rows made from it to be awkward.

    Args:
        servable: the bundle's graph, as it will be served.
        fitted: the trained model, with where it decides.
        holdout: customers that did not train.

    Raises:
        TrainingError: a deviation exceeds `LIMIT`; the model must not be registered.
    """
    deviations = {}
    rows = 0
    kinds = [*awkward_rows(servable.schema, holdout, fitted.thresholds)]
    if fitted.hard_rows is not None:
        kinds.append(("hardest for this model", fitted.hard_rows))
    for kind, columns in kinds:
        deviations[kind] = _deviation(servable, fitted.native, columns)
        rows += len(columns)
    certificate = Parity(deviations, rows, LIMIT)
    if not certificate.passed:
        worst = max(deviations, key=lambda kind: deviations[kind])
        raise TrainingError(
            f"the exported graph deviates from the native model by {certificate.largest:.1e} ({worst}), and "
            f"{LIMIT:.0e} is allowed; nothing was registered; report this with the versions of "
            "lightgbm, onnxmltools and onnxruntime"
        )
    return certificate


def awkward_rows(
    schema: Schema, holdout: Columns, thresholds: Mapping[int, NDArray[np.float32]]
) -> Iterator[tuple[str, Columns]]:
    """Kinds of rows and the rows: holdout, thresholds, missing, unseen categories, extremes."""
    random = np.random.default_rng(SEED)
    yield "holdout", holdout
    yield "either side of every threshold", _around_thresholds(holdout, thresholds, random)
    nullable = [position for position, feature in enumerate(schema.numeric) if feature.nullable]
    if nullable:
        yield "missing numbers", _with_missing(holdout, nullable, random)
    if schema.categorical:
        yield "unseen and missing categories", _with_strange_categories(holdout, len(schema.categorical), random)
    yield "extremes", _with_extremes(holdout, len(schema.numeric), random)


def _around_thresholds(
    holdout: Columns, thresholds: Mapping[int, NDArray[np.float32]], random: np.random.Generator
) -> Columns:
    columns = np.concatenate([np.full(3 * len(values), column) for column, values in thresholds.items()] or [_NO_ROWS])
    values = np.concatenate([_neighbours(values) for values in thresholds.values()] or [_NO_ROWS])
    rows = _draw(holdout, len(columns), random)
    rows.numeric[np.arange(len(columns)), columns.astype(np.intp)] = values
    return rows


def _neighbours(values: NDArray[np.float32]) -> NDArray[np.float32]:
    below, above = np.nextafter(values, np.float32(-np.inf)), np.nextafter(values, np.float32(np.inf))
    return np.concatenate([below, values, above])


def _with_missing(holdout: Columns, nullable: list[int], random: np.random.Generator) -> Columns:
    rows = _draw(holdout, ROWS_A_FEATURE * (len(nullable) + 1), random)
    for at, column in enumerate(nullable):
        rows.numeric[at * ROWS_A_FEATURE : (at + 1) * ROWS_A_FEATURE, column] = np.nan
    # The last rows miss all that may be missing.
    rows.numeric[-ROWS_A_FEATURE:, nullable] = np.nan
    return rows


def _with_strange_categories(holdout: Columns, width: int, random: np.random.Generator) -> Columns:
    rows = _draw(holdout, 2 * ROWS_A_FEATURE * width, random)
    for column in range(width):
        start = 2 * ROWS_A_FEATURE * column
        rows.categorical[start : start + ROWS_A_FEATURE, column] = UNSEEN_CATEGORY
        rows.categorical[start + ROWS_A_FEATURE : start + 2 * ROWS_A_FEATURE, column] = MISSING_CATEGORY
    return rows


def _with_extremes(holdout: Columns, width: int, random: np.random.Generator) -> Columns:
    rows = _draw(holdout, len(EXTREMES) * width, random)
    columns = np.repeat(np.arange(width), len(EXTREMES))
    rows.numeric[np.arange(len(columns)), columns] = np.tile(EXTREMES, width)
    return rows


_NO_ROWS = np.empty(0, np.float32)


def _draw(holdout: Columns, count: int, random: np.random.Generator) -> Columns:
    """Copies of customers drawn from the holdout."""
    drawn = random.integers(0, len(holdout), count)
    return Columns(holdout.numeric[drawn], holdout.categorical[drawn])


def _deviation(servable: Servable, native: Native, columns: Columns) -> float:
    if not len(columns):
        return 0.0
    expected = native(columns)
    scored = dict(zip([output.name for output in servable.schema.outputs], servable.run(columns), strict=True))
    worst = 0.0
    for name, values in expected.items():
        deviation = np.abs(scored[name] - values) / np.maximum(1.0, np.abs(values))
        # A score that is not a number deviates without bound.
        worst = max(worst, float(np.nan_to_num(deviation, nan=np.inf).max()))
    return worst
