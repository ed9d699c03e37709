"""Figures with their intervals under each other, drawn against what is tolerated: a forest plot, as an SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_registry.page import ACCENT, element, interval, limit, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from audits.statistics import Tolerance
    from model_registry.evidence import Interval
    from model_registry.page import Html

WIDTH, LEFT, RIGHT, TOP, ROW = 760.0, 230.0, 600.0, 6.0, 20.0
BAD = "var(--bad)"
QUIET, LOUD = "0.75", "1"
RATIO_TICKS = (0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, 10.0)
FARTHEST = 10.0
"""Ratios beyond this, or below one over it, are drawn at the edge."""

STEPS = (0.05, 0.1, 0.2, 0.25, 0.5)
MOST_TICKS = 6


@dataclass(frozen=True)
class Row:
    """A line of the drawing; one that is `bad` is drawn in the colour of warnings."""

    label: str
    figure: Interval
    bad: bool = False


@dataclass(frozen=True)
class Scale:
    """Figures to places. Ratios lie on a scale of logarithms, on which 0.8 and 1.25 are as far from 1."""

    low: float
    high: float
    ratio: bool

    def at(self, figure: float) -> float:
        """The place of a figure; what lies beyond the scale lies at its edge."""
        measure: Callable[[float], float] = math.log if self.ratio else float
        kept = min(max(figure, self.low), self.high)
        share = (measure(kept) - measure(self.low)) / (measure(self.high) - measure(self.low))
        return LEFT + share * (RIGHT - LEFT)

    @property
    def ticks(self) -> list[float]:
        if self.ratio:
            return [tick for tick in RATIO_TICKS if self.low <= tick <= self.high]
        step = next((step for step in STEPS if (self.high - self.low) / step < MOST_TICKS), STEPS[-1])
        return [step * at for at in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def deviations(groups: Mapping[str, Sequence[Row]], tolerance: Tolerance) -> Html:
    """Figures by attribute, over the band of what is tolerated; the line in its middle is the ideal."""
    shown = [row.figure for rows in groups.values() for row in rows]
    limits = [end for end in (tolerance.low, tolerance.high) if math.isfinite(end)]
    low = min([*limits, *(figure.low for figure in shown)])
    high = max([*limits, *(figure.high for figure in shown)])
    if tolerance.ratio:
        low, high = max(low, 1.0 / FARTHEST), min(high, FARTHEST)
    scale = Scale(low, high, tolerance.ratio)
    band = _band(scale, tolerance.low, tolerance.high, tolerance.ideal)
    return _drawn(groups, scale, band, interval, limit)


def rates(groups: Mapping[str, Sequence[Row]], overall: float) -> Html:
    """Shares by attribute, beside the share of all."""
    most = max(row.figure.high for rows in groups.values() for row in rows)
    scale = Scale(0.0, max(most, overall), ratio=False)
    return _drawn(groups, scale, _band(scale, overall, overall, overall), _as_percent, percent)


def _as_percent(shown: Interval) -> str:
    return f"{percent(shown.estimate)} [{percent(shown.low)}, {percent(shown.high)}]"


def _drawn(
    groups: Mapping[str, Sequence[Row]],
    scale: Scale,
    band: Callable[[float], Iterator[Html]],
    told: Callable[[Interval], str],
    tick: Callable[[float], str],
) -> Html:
    lines: list[Html] = []
    bottom = TOP
    for name, rows in groups.items():
        if name:
            bottom += ROW
            lines.append(_text(name, 0.0, bottom - 5.0, font_weight="600"))
        for row in rows:
            bottom += ROW
            lines += _line(row, scale, bottom - ROW / 2.0, told)
    return element(
        "svg",
        *band(bottom),
        *_axis(scale, bottom, tick),
        *lines,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {bottom + 24.0:g}",
        width=f"{WIDTH:g}",
        font_size="12",
        fill="currentColor",
    )


def _band(scale: Scale, low: float, high: float, ideal: float) -> Callable[[float], Iterator[Html]]:
    def drawn(bottom: float) -> Iterator[Html]:
        start, end, middle = scale.at(low), scale.at(high), f"{scale.at(ideal):.1f}"
        height = f"{bottom - TOP:g}"
        yield element(
            "rect", x=f"{start:.1f}", y=f"{TOP:g}", width=f"{end - start:.1f}", height=height, fill=ACCENT,
            fill_opacity="0.14",
        )  # fmt: skip
        yield element(
            "line", x1=middle, x2=middle, y1=f"{TOP:g}", y2=f"{bottom:g}", stroke=ACCENT, stroke_dasharray="4 3"
        )

    return drawn


def _axis(scale: Scale, bottom: float, tick: Callable[[float], str]) -> Iterator[Html]:
    for figure in scale.ticks:
        yield _text(tick(figure), scale.at(figure), bottom + 16.0, text_anchor="middle", fill_opacity="0.7")


def _line(row: Row, scale: Scale, middle: float, told: Callable[[Interval], str]) -> Iterator[Html]:
    colour, y = (BAD if row.bad else "currentColor"), f"{middle:g}"
    low, high = f"{scale.at(row.figure.low):.1f}", f"{scale.at(row.figure.high):.1f}"
    strength = LOUD if row.bad else QUIET
    yield _text(row.label, 12.0, middle + 4.0)
    yield element("line", x1=low, x2=high, y1=y, y2=y, style=f"stroke:{colour}", stroke_width="2", opacity=strength)
    yield element(
        "circle", cx=f"{scale.at(row.figure.estimate):.1f}", cy=y, r="4", style=f"fill:{colour}", opacity=strength
    )
    yield _text(told(row.figure), RIGHT + 12.0, middle + 4.0, style=f"fill:{colour}" if row.bad else "")


def _text(text: str, x: float, y: float, **style: str) -> Html:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", **style)
