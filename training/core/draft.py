"""A bundle in the making: the graph can score already, the judgement is still to come."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from model_registry.bundle import Bundle, Golden, Manifest
from model_registry.servable import Servable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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


def code_digest() -> str:
    """SHA-256 over the sources that make a model: their paths and contents."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for package in SOURCES for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
