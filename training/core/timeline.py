"""The dates of a training, drawn: what features see of each snapshot, and the days whose outcome is the label."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_registry.page import ACCENT, PALETTE, Html, element

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.core.dataset import Dataset

WIDTH, LEFT, RIGHT, TOP, ROW = 760.0, 150.0, 30.0, 8.0, 24.0
SHOWN = 12
"""Training snapshots drawn; of more, the latest."""

MOST_TICKS = 8
LOOK_BACK = 0.2
"""How far the drawing begins before the first snapshot, as a share of the days it shows after it."""

TEST_COLOUR = PALETTE[1]


@dataclass(frozen=True)
class Span:
    """One line of the drawing: a snapshot and the days that its label looks ahead."""

    name: str
    snapshot: dt.date
    horizon: dt.timedelta
    colour: str

    @property
    def close(self) -> dt.date:
        return self.snapshot + self.horizon


def spans(dataset: Dataset) -> tuple[Span, ...]:
    """The training snapshots and the test snapshot; nothing without a time axis."""
    if not dataset.has_time_axis:
        return ()
    horizon = dt.timedelta(days=dataset.horizon_days)
    trained = [day.item() for day in np.unique(dataset.train.dates)][-SHOWN:]
    tested = dt.date.fromisoformat(dataset.window.test_snapshot)
    return (*(Span("training", day, horizon, ACCENT) for day in trained), Span("test", tested, horizon, TEST_COLOUR))


def drawing(lines: tuple[Span, ...]) -> Html:
    """An SVG of at least one line."""
    axis = _Axis.over(lines)
    bottom = TOP + ROW * len(lines)
    return element(
        "svg",
        *_grid(axis, bottom),
        *(piece for row, span in enumerate(lines) for piece in _line(axis, span, TOP + ROW * (row + 0.5))),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {bottom + 26:g}",
        width=f"{WIDTH:g}",
        font_size="12",
        fill="currentColor",
    )


@dataclass(frozen=True)
class _Axis:
    """Days to places."""

    first: dt.date
    last: dt.date

    @classmethod
    def over(cls, lines: tuple[Span, ...]) -> _Axis:
        first, last = min(span.snapshot for span in lines), max(span.close for span in lines)
        # One day at least, so that a single snapshot without a horizon has a place too.
        back = dt.timedelta(days=1 + round(LOOK_BACK * (last - first).days))
        return cls(first - back, last + dt.timedelta(days=1))

    def at(self, day: dt.date) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((day - self.first) / (self.last - self.first))

    def ticks(self) -> list[dt.date]:
        """First days of months, no more than can be read."""
        months = range(self.first.year * 12 + self.first.month, self.last.year * 12 + self.last.month)
        step = 1 + len(months) // MOST_TICKS
        return [dt.date(month // 12, month % 12 + 1, 1) for month in months[::step]]


def _grid(axis: _Axis, bottom: float) -> Iterator[Html]:
    for day in axis.ticks():
        place = f"{axis.at(day):.1f}"
        yield element(
            "line", x1=place, x2=place, y1=f"{TOP:g}", y2=f"{bottom:g}", stroke="currentColor", stroke_opacity="0.15"
        )
        label = f"{day:%b %Y}" if day.month == 1 or day == axis.ticks()[0] else f"{day:%b}"
        yield element("text", label, x=place, y=f"{bottom + 16:g}", text_anchor="middle", fill_opacity="0.7")


def _line(axis: _Axis, span: Span, middle: float) -> Iterator[Html]:
    opened, closed = axis.at(span.snapshot), axis.at(span.close)
    y = f"{middle:g}"
    yield element("text", f"{span.name} {span.snapshot}", x="0", y=f"{middle + 4:g}")
    yield element("line", x1=f"{LEFT:g}", x2=f"{opened:.1f}", y1=y, y2=y, stroke="currentColor", stroke_opacity="0.4")
    yield element(
        "rect",
        x=f"{opened:.1f}",
        y=f"{middle - 5:g}",
        width=f"{closed - opened:.1f}",
        height="10",
        fill=span.colour,
        fill_opacity="0.55",
    )
    yield element("circle", cx=f"{opened:.1f}", cy=y, r="4", fill=span.colour)
