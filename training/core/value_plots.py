"""The plots of foreseen amounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.page import ACCENT, INK, PALETTE
from training.core.drawing import in_percent, two_axes
from training.core.plots import TENTHS, found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from training.core.amounts import Foreseen

BY_VALUE = "Tenth of the customers by expected value, 10 is the most"
NORMAL_95 = 1.96
LEAST_SHARE = 0.05
"""An axis of shares reaches this far, even where there is nothing to show."""


def levels(amounts: NDArray[np.float64], expected: NDArray[np.float64], unit: str) -> Figure:
    """Means foreseen and seen (N,) in tenths of the customers by expectation, as amounts and as ratios."""
    figure, (curve, ratios) = two_axes()
    parts = _tenths(expected)
    said = np.array([expected[part].mean() for part in parts])
    seen = np.array([amounts[part].mean() for part in parts])
    error = NORMAL_95 * np.array([amounts[part].std() / np.sqrt(len(part)) for part in parts])
    top = 1.05 * max(said.max(), (seen + error).max())
    curve.plot([0, top], [0, top], color=INK, linewidth=0.6, linestyle="--")
    curve.errorbar(said, seen, yerr=error, fmt="o", markersize=4, color=ACCENT, elinewidth=1)
    curve.set(xlabel=f"Expected, {unit}", ylabel=f"Came, {unit}", title="Level", xlim=(0, top), ylim=(0, top))
    ratios.errorbar(range(1, TENTHS + 1), seen / said, yerr=error / said, fmt="o", markersize=4, color=ACCENT)
    ratios.axhline(1.0, color=INK, linewidth=0.6, linestyle="--")
    ratios.set(xlabel=BY_VALUE, ylabel="Came / expected", title="Level by tenth", xticks=range(1, TENTHS + 1))
    ratios.set_ylim(bottom=0)
    return figure


def gains(amounts: NDArray[np.float64], curves: Mapping[str, NDArray[np.float64]]) -> Figure:
    """The money found on the way down by scores (N,) by name, and what each tenth of the first brings of it."""
    figure, (curve, bars) = two_axes()
    first = next(iter(curves.values()))
    for (name, scores), colour in zip(curves.items(), PALETTE, strict=False):
        curve.plot(*found(amounts, scores), color=colour, linewidth=1.8 if scores is first else 1.1, label=name)
    curve.plot(*found(amounts, amounts), color=INK, linewidth=0.8, linestyle=":", label="perfect order")
    curve.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle="--")
    curve.set(xlabel="Share of customers, from the top", ylabel="Share of the money", title="Gains")
    curve.legend(frameon=False, loc="lower right")
    tenths = range(1, TENTHS + 1)
    bars.bar(tenths, [amounts[part].sum() / amounts.sum() for part in _tenths(first)], color=ACCENT)
    bars.set(xlabel=BY_VALUE, ylabel="Share of the money", title="What each tenth brings", xticks=tenths)
    in_percent(curve.xaxis, curve.yaxis, bars.yaxis)
    return figure


def coverage(amounts: NDArray[np.float64], foreseen: Foreseen, promised: float, unit: str) -> Figure:
    """How often amounts (N,) lie beyond the bounds in each tenth by expectation, and what the bounds are there."""
    figure, (shares, widths) = two_axes()
    parts = _tenths(foreseen.expected)
    tenths = np.arange(1, TENTHS + 1)
    beyond = (amounts < foreseen.lower, amounts > foreseen.upper)
    below, above = (_means(mask.astype(np.float64), parts) for mask in beyond)
    shares.bar(tenths, below, color=PALETTE[1], label="below the lower bound")
    shares.bar(tenths, above, bottom=below, color=ACCENT, label="above the upper bound")
    shares.axhline(1.0 - promised, color=INK, linewidth=0.6, linestyle="--", label="promised")
    top = max(1.4 * max(1.0 - promised, (below + above).max()), LEAST_SHARE)
    shares.set(xlabel=BY_VALUE, ylabel="Share of customers", title="Beyond the bounds", xticks=tenths, ylim=(0, top))
    shares.legend(frameon=False, loc="upper left", ncols=2)
    in_percent(shares.yaxis)
    middle = _means(foreseen.expected, parts)
    reach = [middle - _means(foreseen.lower, parts), _means(foreseen.upper, parts) - middle]
    widths.errorbar(tenths, middle, yerr=reach, fmt="o", markersize=4, color=ACCENT, elinewidth=1)
    widths.set(xlabel=BY_VALUE, ylabel=f"Mean of the bounds, {unit}", title="Intervals", xticks=tenths)
    return figure


def _tenths(expected: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """The positions of each tenth, from the least."""
    return np.array_split(np.argsort(expected, kind="stable"), TENTHS)


def _means(values: NDArray[np.float64], parts: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    return np.array([values[part].mean() for part in parts])
