"""How commands speak: results on standard output, progress on standard error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


class Steps:
    """Prints what a job is doing, with the seconds since it began."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def __call__(self, message: str) -> None:
        err.print(f"[dim]{time.perf_counter() - self._began:6.1f} s[/]  {message}")


def table(title: str, headers: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    drawn = Table(*headers, title=title, title_justify="left", title_style="bold")
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)
