"""What is churn's own: bands, percentiles, population."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_registry.schema import Output
from tests.support.learning import HORIZON, LABEL, dataset
from training.churn.pipeline import risk_bands
from training.core.classifier import tune

DATA = dataset()
TUNED = tune(DATA.train, DATA.features, LABEL, HORIZON, lambda _: None)


@pytest.mark.parametrize(
    ("average", "medium", "high"), [(0.13, 0.13, 0.5), (0.7, 0.5, 0.7), (0.5, 0.5, 0.75), (0.001, 0.001, 0.5)]
)
def test_bands_lie_at_the_average_and_at_one_half_and_ascend(average: float, medium: float, high: float) -> None:
    bands = risk_bands(replace(TUNED, held_out=np.array([average, average])))
    assert [band.name for band in bands] == ["LOW", "MEDIUM", "HIGH"]
    assert [band.threshold for band in bands] == pytest.approx([0.0, medium, high], rel=1e-6)
    assert all(band.threshold == float(np.float32(band.threshold)) for band in bands)
    Output("churn_probability", "probability", bands)
