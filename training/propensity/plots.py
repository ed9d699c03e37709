"""Several outcomes in one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from model_registry.page import INK
from training.core.drawing import in_percent, two_axes
from training.core.plots import FROM_THE_TOP, TENTHS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

COLOURS = "viridis"
LIGHTEST = 0.85
"""Beyond it a line is lost on paper."""


def overview(outcomes: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Figure:
    """Calibration and deciles of labels and probabilities, both (N,), by name: a line for each."""
    figure, (calibration, deciles) = two_axes()
    colours = mpl.colormaps[COLOURS](np.linspace(0.0, LIGHTEST, len(outcomes)))
    tenths = np.arange(1, TENTHS + 1)
    top = 0.0
    for (name, (labels, probabilities)), colour in zip(outcomes.items(), colours, strict=True):
        parts = np.array_split(np.argsort(-probabilities, kind="stable"), TENTHS)
        said = np.array([probabilities[part].mean() for part in parts])
        seen = np.array([labels[part].mean() for part in parts])
        top = max(top, 1.05 * said.max(), 1.05 * seen.max())
        calibration.plot(said, seen, "o-", color=colour, markersize=3, linewidth=1.0, label=name)
        deciles.plot(tenths, seen, "o-", color=colour, markersize=3, linewidth=1.0)
    calibration.plot([0, top], [0, top], color=INK, linewidth=0.6, linestyle="--")
    calibration.set(xlabel="Probability said", ylabel="Frequency seen", title="Calibration")
    calibration.set(xlim=(0, top), ylim=(0, top))
    calibration.legend(frameon=False)
    deciles.set(xlabel=FROM_THE_TOP, ylabel="Frequency", title="Deciles", xticks=tenths, ylim=(0, None))
    in_percent(calibration.xaxis, calibration.yaxis, deciles.yaxis)
    return figure
