from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from training.core.plots import calibration


@pytest.mark.parametrize("outcome", [0.0, 1.0])
@pytest.mark.parametrize("customers", [100, 538, 900, 1470])
def test_tenths_in_which_nobody_or_everybody_left_can_be_drawn(customers: int, outcome: float) -> None:
    probabilities = np.linspace(0, 1, customers)
    figure = calibration(np.full(customers, outcome), probabilities)
    plt.close(figure)
