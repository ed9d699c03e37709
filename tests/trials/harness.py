"""What a trial returns, how it tells how far it is, and how busy everybody was."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from tests.support.server import ServerProcess


@dataclass(frozen=True)
class Result:
    """One figure, and whether it reached its bar. A figure without a bar is only told.

    `timed` is what other work on the machine can move: nothing to judge a short run by.
    """

    name: str
    figure: float
    unit: str
    bar: str
    passed: bool
    note: str = ""
    timed: bool = False


UNITS_OF_TIME = frozenset({"s", "ms", "x", "a second"})


def at_most(name: str, figure: float, limit: float, unit: str = "", note: str = "", *, timed: bool = False) -> Result:
    # A figure that could not be measured, NaN, reaches no bar.
    return Result(name, figure, unit, f"<= {limit:,.4g}", figure <= limit, note, timed or unit in UNITS_OF_TIME)


def at_least(name: str, figure: float, limit: float, unit: str = "", note: str = "") -> Result:
    return Result(name, figure, unit, f">= {limit:,.4g}", figure >= limit, note, unit in UNITS_OF_TIME)


def told(name: str, figure: float, unit: str = "", note: str = "") -> Result:
    return Result(name, figure, unit, "", passed=True, note=note)


class Trial(Protocol):
    """The module `tests.trials.<name>`: its sizes are frozen dataclasses of numbers, the second takes seconds."""

    FULL: Any
    QUICK: Any

    def run(self, size: Any, folder: Path) -> list[Result]:
        """Tries; `folder` is empty, and stays for whoever wants to know why."""
        ...


def say(text: str) -> None:
    """Tells how far a trial is."""
    print(f"  {text}", file=sys.stderr, flush=True)  # noqa: T201 - a command's progress


def percentile(values: Sequence[float], share: float) -> float:
    """NaN where there are no values."""
    return float(np.percentile(values, share)) if len(values) else float("nan")


class Usage:
    """How much of a core each side takes while the block runs: a load that takes a whole one measures itself."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = psutil.Process(server.process.pid)

    def __enter__(self) -> Self:
        self._began = (time.perf_counter(), time.process_time(), self._of_server())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wall, load, server = self._began
        self.seconds = time.perf_counter() - wall
        self.load = (time.process_time() - load) / self.seconds
        self.server = (self._of_server() - server) / self.seconds

    def _of_server(self) -> float:
        """Seconds of processor time; nothing of a process that has ended."""
        try:
            times = self._server.cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    @property
    def note(self) -> str:
        return f"load {self.load:.0%}, server {self.server:.0%} of a core"
