"""The plots of a binary classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from model_registry.page import ACCENT, INK, PALETTE
from training.core.drawing import in_percent, two_axes
from training.core.evaluate import Ranking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

TENTHS = 10
WILSON_Z = 1.96
FROM_THE_TOP = "Tenth of the ranking, 1 is the top"
SMALLEST_TOP = 0.02
"""Above it a curve of lift is the luck of a few customers."""

HISTOGRAM_BINS = np.linspace(0.0, 1.0, 41).tolist()


def discrimination(labels: NDArray[np.float64], curves: Mapping[str, NDArray[np.float64]]) -> Figure:
    """ROC and precision-recall curves of scores (N,) by name; the first is drawn strongest."""
    figure, (roc, precision) = two_axes()
    for (name, scores), colour in zip(curves.items(), PALETTE, strict=False):
        # Scores may be infinite (never ordered); their order is what counts.
        order = np.unique(scores, return_inverse=True)[1]
        width = 1.8 if name == next(iter(curves)) else 1.1
        false, true, _ = roc_curve(labels, order)
        roc.plot(false, true, color=colour, linewidth=width, label=name)
        found, recalled, _ = precision_recall_curve(labels, order)
        precision.step(recalled[:-1], found[:-1], color=colour, linewidth=width, where="post")
    roc.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle="--")
    precision.axhline(labels.mean(), color=INK, linewidth=0.6, linestyle="--")
    roc.set(xlabel="Share of customers without the outcome", ylabel="Share of outcomes found", title="ROC")
    precision.set(xlabel="Share of outcomes found", ylabel="Precision", title="Precision and recall", ylim=(0, 1.02))
    roc.legend(loc="lower right", frameon=False)
    in_percent(roc.xaxis, roc.yaxis, precision.xaxis, precision.yaxis)
    return figure


def calibration(labels: NDArray[np.float64], probabilities: NDArray[np.float64]) -> Figure:
    """Said against seen in tenths of the customers, and how the probabilities are spread."""
    figure, (curve, spread) = two_axes()
    parts = np.array_split(np.argsort(probabilities, kind="stable"), TENTHS)
    said = np.array([probabilities[part].mean() for part in parts])
    seen = np.array([labels[part].mean() for part in parts])
    low, high = wilson(seen, np.array([len(part) for part in parts]))
    top = 1.05 * max(said.max(), high.max())
    curve.plot([0, top], [0, top], color=INK, linewidth=0.6, linestyle="--")
    # Where nobody or everybody did, an end meets the estimate, but for the last bit.
    curve.errorbar(
        said,
        seen,
        yerr=[np.maximum(seen - low, 0.0), np.maximum(high - seen, 0.0)],
        fmt="o",
        markersize=4,
        color=ACCENT,
        elinewidth=1,
    )
    curve.set(xlabel="Probability said", ylabel="Frequency seen", title="Calibration", xlim=(0, top), ylim=(0, top))
    spread.hist(probabilities, bins=HISTOGRAM_BINS, color=ACCENT)
    spread.set(xlabel="Probability said", ylabel="Customers", title="Spread of the scores")
    in_percent(curve.xaxis, curve.yaxis, spread.xaxis)
    return figure


def deciles(labels: NDArray[np.float64], probabilities: NDArray[np.float64]) -> Figure:
    """Seen and said in each tenth of the ranking from the top, and the outcomes found on the way down."""
    figure, (bars, gains) = two_axes()
    order = np.argsort(-probabilities, kind="stable")
    tenths = np.arange(1, TENTHS + 1)
    bars.bar(tenths, _tenths(labels[order]), color=ACCENT, label="seen")
    bars.plot(tenths, _tenths(probabilities[order]), "o", color=PALETTE[1], markersize=4, label="said")
    bars.axhline(labels.mean(), color=INK, linewidth=0.6, linestyle="--", label="average")
    bars.set(xlabel=FROM_THE_TOP, ylabel="Frequency", title="Deciles", xticks=tenths)
    bars.legend(frameon=False)
    gains.plot(*found(labels, probabilities), color=ACCENT, linewidth=1.8)
    gains.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle="--")
    gains.set(xlabel="Share of customers, from the top", ylabel="Share of outcomes found", title="Gains")
    in_percent(bars.yaxis, gains.xaxis, gains.yaxis)
    return figure


def lift(labels: NDArray[np.float64], curves: Mapping[str, NDArray[np.float64]]) -> Figure:
    """How many times the average each tenth of the first scores reaches, and the top of any size by all scores."""
    figure, (bars, curve) = two_axes()
    first = next(iter(curves.values()))
    tenths = np.arange(1, TENTHS + 1)
    heights = _tenths(labels[np.argsort(-first, kind="stable")]) / labels.mean()
    bars.bar_label(bars.bar(tenths, heights, color=ACCENT), fmt="%.1f", fontsize=8, color=INK)
    bars.axhline(1.0, color=INK, linewidth=0.6, linestyle="--")
    bars.set(xlabel=FROM_THE_TOP, ylabel="Times the average", title="Lift by tenth", xticks=tenths)
    for (name, scores), colour in zip(curves.items(), PALETTE, strict=False):
        customers, outcomes = found(labels, scores)
        shown = customers >= SMALLEST_TOP
        width = 1.8 if scores is first else 1.1
        curve.plot(customers[shown], outcomes[shown] / customers[shown], color=colour, linewidth=width, label=name)
    curve.axhline(1.0, color=INK, linewidth=0.6, linestyle="--")
    curve.set(xlabel="Share of customers, from the top", ylabel="Times the average", title="Lift curve", ylim=(0, None))
    curve.legend(frameon=False)
    in_percent(curve.xaxis)
    return figure


def _tenths(ranked: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each tenth (10,)."""
    return np.array([part.mean() for part in np.array_split(ranked, TENTHS)])


def found(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the customers and of the outcomes from the top down, from 0 to 1; equal scores are one step."""
    outcomes, customers = (sums[0] for sums in Ranking(scores, labels).gains(np.ones((1, len(labels)))))
    return customers / customers[-1], outcomes / outcomes[-1]


def wilson(share: NDArray[np.float64], count: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of a rate: Wilson, "Probable inference" (1927)."""
    shrink = 1.0 + WILSON_Z**2 / count
    centre = (share + WILSON_Z**2 / (2 * count)) / shrink
    half = WILSON_Z / shrink * np.sqrt(share * (1 - share) / count + WILSON_Z**2 / (4 * count**2))
    return centre - half, centre + half
