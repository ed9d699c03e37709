"""Propensity on a market whose truth is known: each head says it, and those that cannot are left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.metrics import roc_auc_score

from features.project import Project, load_project
from model_registry.bundle import Bundle, read_bundle
from model_registry.schema import Status
from model_registry.servable import Servable
from tests.fakes.registry import FakeRegistry, FolderTracker
from tests.support.market import AS_OF, DAYS, HORIZON, Market, open_market
from training.core.champion import Champion
from training.core.draft import Draft
from training.core.errors import NotEligibleError, TrainingError
from training.core.job import train
from training.core.parity import awkward_rows, certify
from training.propensity.pipeline import PIPELINE, FittedPropensity

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from training.core.dataset import Dataset
    from training.core.job import TrainingResult

PURCHASE = "purchase_probability"
SERVED = {
    PURCHASE: "purchased",
    f"{PURCHASE}[bread]": "purchased[bread]",
    f"{PURCHASE}[cheese]": "purchased[cheese]",
    f"{PURCHASE}[wine]": "purchased[wine]",
    "response_probability": "responded",
}
"""Labels by output."""


@dataclass(frozen=True)
class Trained:
    """A training through the job, and its pieces by hand."""

    market: Market
    result: TrainingResult
    bundle: Bundle
    dataset: Dataset
    fitted: FittedPropensity
    project: Project

    @property
    def scores(self) -> dict[str, np.ndarray]:
        return Draft.of("propensity", self.dataset, self.fitted, "").scores()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return open_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def trained(market: Market) -> Trained:
    project = load_project(market.project)
    tracker = FolderTracker(market.project.parent / "runs")
    registry = FakeRegistry(tracker)
    kept = Keeping()
    result = train(kept, project, registry, tracker, as_of=AS_OF)
    bundle = read_bundle(registry.download_bundle(result.version, market.project.parent / "download"))
    assert kept.data is not None
    assert kept.fitted is not None
    return Trained(market, result, bundle, kept.data, kept.fitted, project)


class Keeping(type(PIPELINE)):  # type: ignore[misc]
    """The pipeline, with what it made kept for a look."""
