"""What all figures share: colours, type, size. No figure touches a display or any global state of matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from model_registry.page import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

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
    "svg.fonttype": "none",
    # Ids in the file come from this and not from chance: the same figures give the same bytes.
    "svg.hashsalt": "regulars",
}


def two_axes() -> tuple[Figure, tuple[Axes, Axes]]:
    """A figure of two plots side by side."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
    return figure, (left, right)


def in_percent(*axes: Axis) -> None:
    """Ticks of shares, written in percent."""
    for axis in axes:
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def to_svg(figure: Figure) -> str:
    """The figure as an SVG element, fit to stand inside a page."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    return text.getvalue()[text.getvalue().index("<svg") :]
