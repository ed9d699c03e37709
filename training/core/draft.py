"""A bundle in the making: the graph can score already, the judgement is still to come."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model_registry.bundle import Bundle, Golden, Manifest
from model_registry.distributions import distribution_of_numbers, distribution_of_texts
from model_registry.schema import Status
from model_registry.servable import Servable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_registry.schema import Output, Schema
    from training.core.dataset import Dataset
    from training.core.pipeline import Fitted

SOURCES = ("features", "model_registry", "training")


@dataclass(frozen=True)
class Draft:
    """A fitted model behind the servable that everybody else will score it with."""

    dataset: Dataset
    fitted: Fitted
    manifest: Manifest
    servable: Servable

    @classmethod
    def of(cls, name: str, dataset: Dataset, fitted: Fitted, run_id: str) -> Draft:
        manifest = Manifest(
            name=name,
            schema=fitted.schema,
            horizon_days=dataset.horizon_days,
            training_window=dataset.window,
            metrics={},
            run_id=run_id,
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            dataset_digest=dataset.digest,
            code_digest=code_digest(),
            constants=dict(fitted.constants),
        )
        nothing = Golden(dataset.test.columns.slice(0, 0), {})
        return cls(dataset, fitted, manifest, Servable(Bundle(manifest, fitted.graph, nothing, digest="")))

    def scores(self) -> dict[str, NDArray[np.float32]]:
        """The graph's scores of the test part (N,), by output name."""
        names = (output.name for output in self.manifest.schema.outputs)
        return dict(zip(names, self.servable.run(self.dataset.test.columns), strict=True))

    def observed_schema(self) -> Schema:
        """The schema, with the spread of inputs and outputs over the customers of the test part whom it speaks of.

        Not of the training rows: their snapshots span months in which counts and sums grew, and against them a model
        would have drifted on the day it is made. The test part is the newest, and what the model is judged on.
        """
        schema, columns = self.manifest.schema, self.dataset.test.columns
        scored = self.servable.score(columns)
        inside = scored.statuses == Status.OK
        numeric, categorical = iter(columns.numeric[inside].T), iter(columns.categorical[inside].T)
        features = (
            replace(feature, distribution=distribution_of_numbers(next(numeric)))
            if feature.kind == "numeric"
            else replace(feature, distribution=distribution_of_texts(next(categorical), feature.vocabulary))
            for feature in schema.features
        )
        outputs = (_observed(output, scored.values[output.name][inside]) for output in schema.outputs)
        return replace(schema, features=tuple(features), outputs=tuple(outputs))


def _observed(output: Output, values: NDArray[np.float32]) -> Output:
    """Where every value is the threshold of a band, the bands are names of what was chosen, and each is a bin."""
    thresholds = [band.threshold for band in output.bands]
    are_names = bool(np.isin(values, np.array(thresholds, np.float32)).all())
    return replace(output, distribution=distribution_of_numbers(values, thresholds[1:] if are_names else None))


def code_digest() -> str:
    """SHA-256 over the sources that make a model: their paths and contents."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for package in SOURCES for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
