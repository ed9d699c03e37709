"""The same rates by group as fairlearn's `MetricFrame` gives."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn import metrics as fairlearn

from audits.policy import OBSERVED_EXPECTED, TPR_GAP
from audits.probability import Probabilities
from tests.support.worlds import churn_world, policy


def test_rates_by_group() -> None:
    world = churn_world(1, 3000, shift=1.0)
    region = world.attributes[1]
    yardstick = Probabilities.of(
        world, policy(), "churn_probability", "churned", title="Risk", gates=(TPR_GAP, OBSERVED_EXPECTED)
    )
    names = {
        "reached": fairlearn.selection_rate,
        "tpr": fairlearn.true_positive_rate,
        "fpr": fairlearn.false_positive_rate,
    }
    frame = fairlearn.MetricFrame(
        metrics=names,
        y_true=yardstick.happened.astype(int),
        y_pred=yardstick.reached.astype(int),
        sensitive_features=np.array(region.groups)[region.codes],
    )
    for group in region.groups:
        figures = yardstick.figures(region.rows(group), None)
        for name in names:
            assert figures[name].estimate == pytest.approx(frame.by_group.loc[group, name])
