"""The plots of a segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.page import ACCENT, INK, PALETTE, percent
from training.clustering.choice import RECOVERED, SMALLEST, STABLE
from training.clustering.fifths import FIFTHS
from training.core.drawing import in_percent, two_axes
from training.core.pipeline import Illustration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from training.clustering.choice import Candidate
    from training.clustering.portraits import Gallery, Migration

SIZES = (
    "Left, each segment's part of the customers and of the revenue of the days that followed. Right, the revenue a "
    "customer brought, with 95 % intervals; the dashed line is the average."
)
MOVES = "Left, where the customers of each row went: shares of the row. Right, the sizes on both days."

DARK = 0.6
"""Share of a cell's colour from which on its figure is written in white."""


def illustrate(tried: Sequence[Candidate], chosen: Candidate, gallery: Gallery) -> tuple[Illustration, ...]:
    """The choice, the profiles, the sizes, the moves."""
    return (
        Illustration(
            "choice",
            "What each number of segments reaches. Left, whether the same segments come back on resampled customers; "
            "right, the smallest segment and the silhouette. Dashed lines are limits, the dotted one is the choice.",
            choice(tried, chosen),
        ),
        Illustration(
            "profiles",
            "Left, the mean fifths of recency, frequency and monetary value; 5 is the best. Right, the share of "
            "customers without an order in the days that followed, with 95 % Wilson intervals; the dashed line is the "
            "average.",
            profiles(gallery),
        ),
        Illustration(
            "sizes",
            SIZES,
            sizes_and_value(gallery),
        ),
        Illustration(
            "migration",
            MOVES,
            migration_matrix(gallery.migration, gallery.names),
        ),
    )


def choice(tried: Sequence[Candidate], chosen: Candidate) -> Figure:
    """Stability and recovery, smallest share and silhouette by the number of segments."""
    figure, (left, right) = two_axes()
    numbers = [one.k for one in tried]
    low, high = np.percentile([one.agreements for one in tried], (2.5, 97.5), axis=1)
    left.fill_between(numbers, low, high, color=ACCENT, alpha=0.15, linewidth=0)
    left.plot(numbers, [one.stability for one in tried], "o-", color=ACCENT, label="stability")
    left.plot(numbers, [one.recovery for one in tried], "s-", color=PALETTE[1], label="recovery of the weakest")
    right.plot(numbers, [one.silhouette for one in tried], "o-", color=ACCENT, label="silhouette")
    right.plot(numbers, [one.smallest for one in tried], "s-", color=PALETTE[1], label="smallest segment")
    for axes, limit, colour in ((left, STABLE, ACCENT), (left, RECOVERED, PALETTE[1]), (right, SMALLEST, PALETTE[1])):
        axes.axhline(limit, color=colour, linewidth=0.8, linestyle="--")
    for axes, title in ((left, "Do they come back?"), (right, "Are they large and apart?")):
        axes.axvline(chosen.k, color=INK, linewidth=0.8, linestyle=":")
        axes.set(xlabel="Segments", xticks=numbers, ylim=(0, 1.02) if axes is left else (0, None), title=title)
        axes.legend(frameon=False, loc="lower left" if axes is left else "center right")
    return figure


def profiles(gallery: Gallery) -> Figure:
    """Mean fifths as a heat map, and the risk of silence."""
    figure, (heat, risk) = two_axes()
    scores = np.array([portrait.scores for portrait in gallery.portraits])
    _heat_map(heat, (scores - 1.0) / (FIFTHS - 1.0), [[f"{score:.1f}" for score in row] for row in scores])
    heat.set(xticks=range(3), xticklabels=["recency", "frequency", "monetary"], title="Mean fifths")
    _segments_down(heat, gallery.names)
    silent = [portrait.silent for portrait in gallery.portraits]
    _intervals(risk, [(one.estimate, one.low, one.high) for one in silent])
    risk.axvline(gallery.everybody.silent.estimate, color=INK, linewidth=0.6, linestyle="--")
    risk.set(title="Without an order", xlim=(0, 1))
    _segments_down(risk, gallery.names)
    in_percent(risk.xaxis)
    return figure


def sizes_and_value(gallery: Gallery) -> Figure:
    """Parts of the customers and the revenue, and the revenue a customer."""
    figure, (parts, value) = two_axes()
    rows = np.arange(len(gallery.ids))
    parts.barh(rows - 0.2, [one.share for one in gallery.portraits], 0.38, color=PALETTE[2], label="customers")
    parts.barh(rows + 0.2, [one.revenue_share for one in gallery.portraits], 0.38, color=ACCENT, label="revenue")
    parts.set(title="Share of all")
    parts.legend(frameon=False, loc="lower right")
    in_percent(parts.xaxis)
    _segments_down(parts, gallery.names)
    values = [one.value for one in gallery.portraits]
    _intervals(value, [(one.estimate, one.low, one.high) for one in values])
    value.axvline(gallery.everybody.value.estimate, color=INK, linewidth=0.6, linestyle="--")
    value.set(title="Revenue a customer", xlim=(0, None))
    _segments_down(value, gallery.names)
    return figure


def migration_matrix(migration: Migration, names: Sequence[str]) -> Figure:
    """Shares of each former segment by the later one, and sizes before and after."""
    figure, (matrix, sizes) = two_axes()
    shares = migration.shares
    _heat_map(matrix, shares, [[percent(share) if share else "" for share in row] for row in shares])
    matrix.set(xticks=range(len(names)), title=f"From {migration.before} to {migration.after}")
    matrix.set_xticklabels(names, rotation=30, ha="right")
    _segments_down(matrix, [*names, "new customers"])
    rows = np.arange(len(names))
    before, after = migration.counts[:-1].sum(axis=1), migration.counts.sum(axis=0)
    sizes.barh(rows - 0.2, before, 0.38, color=PALETTE[2], label=migration.before)
    sizes.barh(rows + 0.2, after, 0.38, color=ACCENT, label=migration.after)
    sizes.set(title="Customers")
    sizes.legend(frameon=False, loc="lower right")
    _segments_down(sizes, names)
    return figure


def _heat_map(axes: Axes, strengths: NDArray[np.float64], texts: Sequence[Sequence[str]]) -> None:
    """Cells coloured by strengths from 0 to 1; drawn as bars, because images cannot stand in a page by themselves."""
    for row, column in np.ndindex(strengths.shape):
        strength = float(np.nan_to_num(strengths[row, column]))
        axes.barh(row, 1.0, 0.96, left=column - 0.5, color=ACCENT, alpha=strength, linewidth=0)
        colour = "white" if strength >= DARK else INK
        axes.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=8)
    axes.set(xlim=(-0.5, strengths.shape[1] - 0.5))
    axes.tick_params(length=0)


def _intervals(axes: Axes, intervals: Sequence[tuple[float, float, float]]) -> None:
    estimates, low, high = np.array(intervals).T
    # Where nobody or everybody did, an end meets the estimate, but for the last bit.
    ends = np.maximum([estimates - low, high - estimates], 0.0)
    axes.errorbar(estimates, np.arange(len(estimates)), xerr=ends, fmt="o", markersize=4, color=ACCENT, elinewidth=1)


def _segments_down(axes: Axes, names: Sequence[str]) -> None:
    """One row a segment, the first at the top."""
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
