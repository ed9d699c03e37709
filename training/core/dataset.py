"""What a model learns from: customers at snapshots, as float32 matrices with frozen vocabularies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from model_registry.columns import MISSING_CATEGORY, Columns
from model_registry.frame import columns_from_arrow
from model_registry.schema import Feature, Schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from features.specs import FeatureSpec
    from model_registry.bundle import TrainingWindow
    from training.core.sample import Sample

UNSEEN_CODE = np.float32(-1)
"""The code of a missing category and of one that training never saw; trees send both the way of NaN."""

BLANKED_SHARE = 0.01
BLANKING_SEED = 3


@dataclass(frozen=True)
class Rows:
    """N customers, each at one snapshot.

    `dates` are datetime64[D], NaT where there is no time axis; `labels` hold float32 (N,) by label name.
    """

    customer_ids: NDArray[np.object_]
    dates: NDArray[np.datetime64]
    columns: Columns
    labels: Mapping[str, NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.customer_ids)

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Rows:
        """The customers at these positions, or where this mask holds."""
        return Rows(
            self.customer_ids[rows],
            self.dates[rows],
            Columns(self.columns.numeric[rows], self.columns.categorical[rows]),
            {name: values[rows] for name, values in self.labels.items()},
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Rows]) -> Rows:
        return cls(
            np.concatenate([part.customer_ids for part in parts]),
            np.concatenate([part.dates for part in parts]),
            Columns(
                np.concatenate([part.columns.numeric for part in parts]),
                np.concatenate([part.columns.categorical for part in parts]),
            ),
            {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels},
        )


@dataclass(frozen=True)
class Dataset:
    """A training and a test part that share no moment, or, without a time axis, no customer.

    `features` carry what the training rows showed: range, vocabulary, whether ever missing. `test_table` is the
    test part as it came, for models with other features. `set_aside` counts test customers that a server would
    refuse, because they miss a feature that training never missed. `horizon_days` is 0 without a time axis. `sample`
    is what of a larger base both parts are of. `warnings` are what was found on reading that a person should know.
    """

    features: tuple[Feature, ...]
    train: Rows
    test: Rows
    test_table: pa.Table
    horizon_days: int
    window: TrainingWindow
    set_aside: int = 0
    sample: Sample | None = None
    warnings: tuple[str, ...] = ()

    @property
    def has_time_axis(self) -> bool:
        return bool(self.window.test_snapshot)

    @property
    def across_customers(self) -> bool:
        """Whether the test part is other customers, and not a later moment."""
        return self.window.last_snapshot == self.window.test_snapshot

    @property
    def digest(self) -> str:
        """SHA-256 over all contents: names, dates, customers, values, labels."""
        digest = hashlib.sha256()
        for feature in self.features:
            digest.update(f"{feature.name}\0{feature.kind}\0".encode())
        for rows in (self.train, self.test):
            _digest_rows(digest, rows)
        return digest.hexdigest()


def rows_from_arrow(
    table: pa.Table, specs: Sequence[FeatureSpec], labels: Sequence[str], date: np.datetime64 | None
) -> Rows:
    """One snapshot. `table` has `customer_id`, the features and the labels; None is no date.

    Raises:
        FrameError: a feature is not there, or of another kind.
    """
    schema = Schema(features=tuple(Feature(spec.name, spec.kind) for spec in specs), outputs=())
    return Rows(
        customer_ids=np.array(table.column("customer_id").to_pylist(), dtype=object),
        dates=np.full(table.num_rows, np.datetime64("NaT") if date is None else date, "datetime64[D]"),
        columns=columns_from_arrow(table, schema),
        labels={name: table.column(name).to_numpy().astype(np.float32) for name in labels},
    )


def make_dataset(
    specs: Sequence[FeatureSpec],
    train: Rows,
    test: Rows,
    test_table: pa.Table,
    horizon_days: int,
    window: TrainingWindow,
    sample: Sample | None = None,
) -> Dataset:
    """Describes the features by the training rows and sets aside test customers whom a server would refuse.

    Nullable features that no training row misses are blanked in a few, see `_blanked`.
    """
    train = replace(train, columns=_blanked(specs, train.columns))
    features = observed_features(specs, train.columns)
    numeric = [feature for feature in features if feature.kind == "numeric"]
    never_missing = np.array([not feature.nullable for feature in numeric], bool)
    servable = ~(np.isnan(test.columns.numeric) & never_missing).any(axis=1)
    return Dataset(
        features=features,
        train=train,
        test=test.at(servable),
        test_table=test_table.filter(servable),
        horizon_days=horizon_days,
        window=window,
        set_aside=int((~servable).sum()),
        sample=sample,
    )


def _blanked(specs: Sequence[FeatureSpec], columns: Columns) -> Columns:
    """Trees that saw no missing value take one for zero, so a few rows miss each feature that may be missing later.

    Chosen at random, they miss it for no reason, and trees learn to send a missing value the way of the many. There is
    always one at least, so that no feature is required of callers by chance.
    """
    random = np.random.default_rng(BLANKING_SEED)
    numeric = columns.numeric.copy()
    for position, spec in enumerate(spec for spec in specs if spec.kind == "numeric"):
        if spec.nullable and not np.isnan(numeric[:, position]).any():
            draws = random.random(len(numeric))
            numeric[draws <= max(BLANKED_SHARE, draws.min(initial=1.0)), position] = np.nan
    return Columns(numeric, columns.categorical)


def observed_features(specs: Sequence[FeatureSpec], columns: Columns) -> tuple[Feature, ...]:
    """Schema features with the range, the vocabulary and the missing values of these customers."""
    numeric = iter(columns.numeric.T)
    categorical = iter(columns.categorical.T)
    return tuple(
        _observed_number(spec, next(numeric)) if spec.kind == "numeric" else _observed_text(spec, next(categorical))
        for spec in specs
    )


def design_matrix(columns: Columns, features: Sequence[Feature]) -> NDArray[np.float32]:
    """Numbers, then the codes of categories: (N, features), in the order of the graph.

    A category's code is its place in the feature's vocabulary; `UNSEEN_CODE` for all others.
    """
    texts = [feature for feature in features if feature.kind == "categorical"]
    codes = np.empty((len(columns), len(texts)), np.float32)
    for position, feature in enumerate(texts):
        places = {category: np.float32(place) for place, category in enumerate(feature.vocabulary)}
        codes[:, position] = [places.get(text, UNSEEN_CODE) for text in columns.categorical[:, position]]
    return np.hstack([columns.numeric, codes])


def in_graph_order(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features as the columns of `design_matrix`."""
    return tuple(sorted(features, key=lambda feature: feature.kind != "numeric"))


def _observed_number(spec: FeatureSpec, values: NDArray[np.float32]) -> Feature:
    known = values[~np.isnan(values)]
    feature = Feature(spec.name, "numeric", spec.unit, spec.description, nullable=len(known) < len(values))
    if not len(known):
        return feature
    return replace(feature, minimum=float(known.min()), maximum=None if spec.ages else float(known.max()))


def _observed_text(spec: FeatureSpec, values: NDArray[np.object_]) -> Feature:
    # A category may always be missing: the graph has a spelling for it and trees a way.
    vocabulary = tuple(sorted(set(values) - {MISSING_CATEGORY}))
    return Feature(spec.name, "categorical", spec.unit, spec.description, nullable=True, vocabulary=vocabulary)


def _digest_rows(digest: hashlib._Hash, rows: Rows) -> None:
    # Length before content, so that two datasets never run together into the same bytes.
    for texts in (rows.customer_ids, rows.columns.categorical.ravel()):
        digest.update(f"{len(texts)}\0".encode() + "\0".join(map(str, texts)).encode() + b"\0")
    numeric = np.where(np.isnan(rows.columns.numeric), np.float32(np.nan), rows.columns.numeric)
    digest.update(rows.dates.astype(np.int64).tobytes() + numeric.tobytes())
    for name in sorted(rows.labels):
        digest.update(f"{name}\0".encode() + rows.labels[name].tobytes())
