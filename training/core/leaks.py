"""Features that know the answer: near copies of the label, and fields filled in after the outcome."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from training.core.dataset import UNSEEN_CODE, design_matrix, in_graph_order
from training.core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from model_registry.schema import Feature
    from training.core.dataset import Rows

SUSPICIOUS_AUC = 0.95
"""One honest feature does not rank this well: recency, the best we know, reaches .80 to .85."""

LEAVES = 32
LEAF_ROWS = 20
"""Rows that a figure needs to count for itself."""


@dataclass(frozen=True)
class Suspect:
    """A feature that predicts a label too well on its own."""

    feature: str
    label: str
    auc: float


def single_feature_aucs(rows: Rows, features: Sequence[Feature], label: str) -> dict[str, float]:
    """How well each feature alone ranks the label, on customers it was not fitted on.

    A small tree reads a number, so that any shape counts: a level, a middle, being missing. A category counts as often
    as it came with the label, whatever it is called. A label that is a quantity counts as above or below its mean.
    """
    values = design_matrix(rows.columns, features)
    outcome = rows.labels[label] > rows.labels[label].mean()
    learn = _half(rows.customer_ids)
    if len(np.unique(outcome[learn])) < 2 or len(np.unique(outcome[~learn])) < 2:  # noqa: PLR2004 - two outcomes
        return {}
    return {
        feature.name: (_auc_of_category if feature.kind == "categorical" else _auc_of_number)(column, outcome, learn)
        for feature, column in zip(in_graph_order(features), values.T, strict=True)
    }


def find_suspects(rows: Rows, features: Sequence[Feature]) -> tuple[Suspect, ...]:
    """The features that no honest past explains, worst first."""
    found = [
        Suspect(name, label, auc)
        for label in rows.labels
        for name, auc in single_feature_aucs(rows, features, label).items()
        if auc >= SUSPICIOUS_AUC
    ]
    return tuple(sorted(found, key=lambda suspect: -suspect.auc))


def require_acknowledged(suspects: Iterable[Suspect], acknowledged: Iterable[str]) -> None:
    """Raises TrainingError, with the figures, unless every suspect is acknowledged."""
    open_suspects = [suspect for suspect in suspects if suspect.feature not in set(acknowledged)]
    if not open_suspects:
        return
    named = ", ".join(f"{suspect.feature} (AUC {suspect.auc:.3f} for {suspect.label})" for suspect in open_suspects)
    listed = ", ".join(f'"{name}"' for name in dict.fromkeys(suspect.feature for suspect in open_suspects))
    raise TrainingError(
        f"these features alone nearly give the answer, as fields do that are filled in after the outcome: {named}; "
        f"drop them (training.drop_features = [{listed}]), or, if they are known before it, vouch for them "
        f"(training.acknowledge_leaks = [{listed}])"
    )


def _auc_of_number(values: NDArray[np.float32], outcome: NDArray[np.bool_], learn: NDArray[np.bool_]) -> float:
    tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, min_samples_leaf=LEAF_ROWS, random_state=0)
    tree.fit(values[learn, None], outcome[learn])
    return float(roc_auc_score(outcome[~learn], tree.predict_proba(values[~learn, None])[:, 1]))


def _auc_of_category(codes: NDArray[np.float32], outcome: NDArray[np.bool_], learn: NDArray[np.bool_]) -> float:
    # Codes begin with that of a missing category. Rare categories are drawn towards the mean.
    places = (codes - UNSEEN_CODE).astype(np.intp)
    size = places.max() + 1
    rows = np.bincount(places[learn], minlength=size)
    positives = np.bincount(places[learn], outcome[learn], minlength=size)
    rates = (positives + LEAF_ROWS * outcome[learn].mean()) / (rows + LEAF_ROWS)
    return float(roc_auc_score(outcome[~learn], rates[places[~learn]]))


def _half(customer_ids: NDArray[np.object_]) -> NDArray[np.bool_]:
    """A fixed half of the customers, whatever else is in the data."""
    return np.array([zlib.crc32(str(identity).encode()) % 2 == 0 for identity in customer_ids], bool)
