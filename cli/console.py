"""How commands speak: results on standard output, progress on standard error."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

PIPE_WIDTH = 120
"""Columns where there is no terminal to ask."""

_width = None if sys.stdout.isatty() else PIPE_WIDTH
out = Console(highlight=False, soft_wrap=True, width=_width)
err = Console(highlight=False, soft_wrap=True, stderr=True)


class Steps:
    """Prints what a job is doing, with the seconds since it began."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def __call__(self, message: str) -> None:
        err.print(f"[dim]{time.perf_counter() - self._began:6.1f} s[/]  {escape(message)}")


def table(title: str, headers: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table without frames, which a pipe passes on as it is read on a terminal."""
    names = tuple(headers)
    drawn = Table(
        *names,
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if any(names) else box.SIMPLE,
        show_header=any(names),
        pad_edge=False,
    )
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)
