"""How far a long job is: a bar on a terminal, lines of JSON for a machine, nothing otherwise. All on standard error."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TextIO

from rich.progress import BarColumn, Progress, TextColumn

from cli.console import err

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AUTO, JSON, NONE = "auto", "json", "none"

LINE_SECONDS = 1.0
"""Between two lines of JSON, but for the last."""


@dataclass(frozen=True)
class Reading:
    """Rows done of all; how fast is unknown until this attempt has done some, and so is the time left."""

    rows: int
    of: int
    rows_per_second: float | None = None
    seconds_left: float | None = None


class Meter:
    """Told the rows done and the rows in all; the first time, before anything is done by this attempt."""

    def __init__(
        self, show: Callable[[Reading], None] = lambda _: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._show = show
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self.last: Reading | None = None

    def __call__(self, rows: int, of: int) -> None:
        now = self._clock()
        self._began = self._began or (now, rows)
        began, before = self._began
        rate = (rows - before) / (now - began) if rows > before and now > began else None
        self.last = Reading(rows, of, rate, (of - rows) / rate if rate else None)
        self._show(self.last)


class Lines:
    """Writes readings as lines of JSON, and not all of those that follow fast."""

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._next = float("-inf")

    def __call__(self, reading: Reading) -> None:
        now = self._clock()
        if now < self._next and reading.rows < reading.of:
            return
        self._next = now + LINE_SECONDS
        rounded = {name: round(value, 1) if value is not None else None for name, value in asdict(reading).items()}
        self._file.write(json.dumps(rounded) + "\n")
        self._file.flush()


@contextmanager
def metered(kind: str) -> Iterator[Meter]:
    """What is told of the progress is shown until the end of the block."""
    if kind == JSON:
        yield Meter(Lines(sys.stderr))
    elif kind == AUTO and err.is_terminal:
        with _bar() as bar:
            task = bar.add_task("scoring", total=None, rows="", pace="")
            yield Meter(
                lambda reading: bar.update(
                    task, completed=reading.rows, total=reading.of, rows=_rows(reading), pace=_pace(reading)
                )
            )
    else:
        yield Meter()


def _bar() -> Progress:
    columns = ("{task.description}", BarColumn(), "{task.fields[rows]}", "{task.fields[pace]}")
    return Progress(*(TextColumn(one) if isinstance(one, str) else one for one in columns), console=err)


def _rows(reading: Reading) -> str:
    return f"{reading.rows:,} of {reading.of:,} rows"


def _pace(reading: Reading) -> str:
    if reading.rows_per_second is None or reading.seconds_left is None:
        return ""
    minutes, seconds = divmod(round(reading.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{reading.rows_per_second:,.0f} rows/s, {hours}:{minutes:02}:{seconds:02} left"
