"""The simple rules that a booster must beat: what marketers already use, and what a statistician would try first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model_registry.columns import Columns
    from model_registry.schema import Feature
    from training.core.dataset import Rows

RECENCY = "recency"
LOGISTIC = "logistic regression"
RECENCY_FEATURE = "recency_days"
RARE_CATEGORY = 20
"""Categories with fewer rows share one column."""

NEVER_SEEN = -1


def recency_scores(
    columns: Columns, features: Sequence[Feature], recency: str = RECENCY_FEATURE
) -> NDArray[np.float64] | None:
    """The longer away, the likelier gone: days since the last order (N,); None where `recency` is no feature.

    Source: Wübben and Wangenheim, "Instant customer base analysis" (2008), where this hiatus rule held its own.
    """
    names = [feature.name for feature in features if feature.kind == "numeric"]
    if recency not in names:
        return None
    days = columns.numeric[:, names.index(recency)].astype(np.float64)
    # Who never did it is further away than everybody who did.
    return np.nan_to_num(days, nan=np.inf)


def repeat_scores(
    columns: Columns, features: Sequence[Feature], recency: str = RECENCY_FEATURE
) -> NDArray[np.float64] | None:
    """The same rule for what is done again: the shorter ago, the likelier (N,)."""
    days = recency_scores(columns, features, recency)
    return None if days is None else -days


def logistic_scores(train: Rows, test: Columns, features: Sequence[Feature], label: str) -> NDArray[np.float64]:
    """Probabilities (N,) of a logistic regression on the same features.

    It gets a fair chance: medians and a mark for missing numbers, logarithms against heavy tails, one scale,
    categories as columns.
    """
    numbers = sum(feature.kind == "numeric" for feature in features)
    texts = len(features) - numbers
    prepare = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(
                    # A column that is always missing stays, as zeros, so that widths agree.
                    SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
                    FunctionTransformer(_signed_logarithm),
                    StandardScaler(),
                ),
                list(range(numbers)),
            ),
            (
                "texts",
                OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE_CATEGORY),
                list(range(numbers, numbers + texts)),
            ),
        ]
    )
    # A few hundred columns at most: Newton's steps are few, and end where the likelihood is largest.
    model = make_pipeline(prepare, LogisticRegression(solver="newton-cholesky"))
    places = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=NEVER_SEEN)
    if texts:
        places.fit(train.columns.categorical)
    # Matrices of a few hundred columns keep threads waiting for each other longer than they work.
    with threadpool_limits(1):
        model.fit(_table(train.columns, places), train.labels[label])
    probabilities: NDArray[np.float64] = model.predict_proba(_table(test, places))[:, 1]
    return probabilities


def _signed_logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithms: NDArray[np.float64] = np.sign(values) * np.log1p(np.abs(values))
    return logarithms


def _table(columns: Columns, places: OrdinalEncoder) -> NDArray[np.float64]:
    """Numbers, then the places of categories: a table of objects would take four times the memory."""
    numbers = columns.numeric.astype(np.float64)
    return np.hstack([numbers, places.transform(columns.categorical)]) if columns.categorical.shape[1] else numbers
