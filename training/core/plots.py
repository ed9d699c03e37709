"""The plots of a binary classifier. No figure touches a display or any global state of matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

INK = "#22313f"
ACCENT = "#1f6f8b"
PALETTE = (ACCENT, "#c97b4a", "#8a8f98", "#7b6ca8")
TENTHS = 10
WILSON_Z = 1.96
HISTOGRAM_BINS = np.linspace(0.0, 1.0, 41).tolist()
SIZE = (9.0, 3.8)

_STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    # Ids in the file come from this and not from chance: the same figures give the same bytes.
    "svg.hashsalt": "regulars",
}


def discrimination(labels: NDArray[np.float64], curves: Mapping[str, NDArray[np.float64]]) -> Figure:
    """ROC and precision-recall curves of scores (N,) by name; the first is drawn strongest."""
    figure, (roc, precision) = _two_axes()
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
    roc.legend(loc="lower right")
    return figure


def calibration(labels: NDArray[np.float64], probabilities: NDArray[np.float64]) -> Figure:
    """Said against seen in tenths of the customers, and how the probabilities are spread."""
    figure, (curve, spread) = _two_axes()
    parts = np.array_split(np.argsort(probabilities, kind="stable"), TENTHS)
    said = np.array([probabilities[part].mean() for part in parts])
    seen = np.array([labels[part].mean() for part in parts])
    low, high = _wilson(seen, np.array([len(part) for part in parts]))
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
    return figure


def deciles(labels: NDArray[np.float64], probabilities: NDArray[np.float64]) -> Figure:
    """The outcome's frequency in each tenth from the top, and the outcomes found on the way down."""
    figure, (bars, gains) = _two_axes()
    ranked = labels[np.argsort(-probabilities, kind="stable")]
    tenths = np.arange(1, TENTHS + 1)
    bars.bar(tenths, [part.mean() for part in np.array_split(ranked, TENTHS)], color=ACCENT)
    bars.axhline(labels.mean(), color=INK, linewidth=0.6, linestyle="--")
    bars.set(xlabel="Tenth of the ranking, 1 is the top", ylabel="Frequency", title="Deciles", xticks=tenths)
    contacted = np.arange(len(ranked) + 1) / len(ranked)
    gains.plot(contacted, np.append(0.0, np.cumsum(ranked)) / ranked.sum(), color=ACCENT, linewidth=1.8)
    gains.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle="--")
    gains.set(xlabel="Share of customers, from the top", ylabel="Share of outcomes found", title="Gains")
    return figure


def to_svg(figure: Figure) -> str:
    """The figure as an SVG element, fit to stand inside a page."""
    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _two_axes() -> tuple[Figure, tuple[Axes, Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
    return figure, (left, right)


def _wilson(share: NDArray[np.float64], count: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of a rate: Wilson, "Probable inference" (1927)."""
    shrink = 1.0 + WILSON_Z**2 / count
    centre = (share + WILSON_Z**2 / (2 * count)) / shrink
    half = WILSON_Z / shrink * np.sqrt(share * (1 - share) / count + WILSON_Z**2 / (4 * count**2))
    return centre - half, centre + half
