"""The reigning champion, asked to score the same test part."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_registry.bundle import BundleError
from model_registry.frame import FrameError, columns_from_arrow
from model_registry.readings import ScoringError
from model_registry.registry import CHAMPION, registered_bundle
from model_registry.servable import Servable

if TYPE_CHECKING:
    from model_registry.bundle import Manifest
    from model_registry.registry import Registry
    from training.core.dataset import Dataset
    from training.core.pipeline import Scores


@dataclass(frozen=True)
class Champion:
    """What the champion says of the test part. `scores` is None, and `warning` says why, where it cannot be asked.

    `manifest` is None where there is no champion, or no readable one.
    """

    version: str = ""
    scores: Scores | None = None
    manifest: Manifest | None = None
    warning: str = ""


def ask_champion(registry: Registry, name: str, dataset: Dataset) -> Champion:
    """Scores the test part with the champion's own bundle and its own schema.

    Raises:
        RegistryError: the registry fails.
    """
    version = registry.resolve(name, CHAMPION)
    if version is None:
        return Champion()
    try:
        servable = Servable(registered_bundle(registry, version))
        values = servable.run(columns_from_arrow(dataset.test_table, servable.schema))
    except (BundleError, FrameError, ScoringError) as error:
        return Champion(version.version, warning=f"Not compared with champion version {version.version}: {error}.")
    outputs = (output.name for output in servable.schema.outputs)
    scores = dict(zip(outputs, values, strict=True))
    return Champion(version.version, scores, servable.manifest, _head_start(servable, dataset))


def _head_start(servable: Servable, dataset: Dataset) -> str:
    """A champion that trained on this test part's answers is compared all the same, but not in silence."""
    last = servable.manifest.training_window.last_snapshot
    if not last or not dataset.has_time_axis:
        return "The champion may know customers of this test part: without a time axis nothing keeps them apart."
    closed = dt.date.fromisoformat(last) + dt.timedelta(days=servable.manifest.horizon_days)
    if closed > dt.date.fromisoformat(dataset.window.test_snapshot):
        return f"The champion trained on snapshots up to {last}, so it knew answers of this test part."
    return ""
