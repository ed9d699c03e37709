"""The page of figures, `docs/reliability.md`: each trial has a section between two markers, which its run replaces."""

from __future__ import annotations

import datetime as dt
import math
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from benchmarks.harness import cores
from tests.support.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.trials.harness import Result

PAGE = REPOSITORY / "docs" / "reliability.md"
PACKAGES = ("grpcio", "protobuf", "onnxruntime", "numpy")


def table(name: str, results: Sequence[Result], seconds: float) -> str:
    """The results for a terminal."""
    width = max(len(result.name) for result in results)
    rows = [
        f"  {'ok  ' if result.passed else 'MISS'} {result.name:<{width}} {_figure(result):>12} {result.bar:<12}"
        f" {result.note}"
        for result in results
    ]
    return "\n".join([f"{name}, {seconds:.0f} s", *rows])


def how(command: str, seconds: float, busy: float) -> str:
    """By what the figures were measured; `busy` is the load average before, of work that is not the trial's."""
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"`{command}`, {seconds:.0f} s; {dt.datetime.now(dt.UTC):%Y-%m-%d}, {cores()}, load average {busy:.1f} before, "
        f"Python {platform.python_version()}, {packages}."
    )


def write(name: str, results: Sequence[Result], measured: str) -> None:
    PAGE.write_text(refresh(PAGE.read_text(), name, section(results, measured)))


def section(results: Sequence[Result], measured: str) -> str:
    rows = [
        f"| {result.name} | {_figure(result)} | {result.bar} | {'yes' if result.passed else '**no**'} | {result.note} |"
        if result.bar
        else f"| {result.name} | {_figure(result)} |  |  | {result.note} |"
        for result in results
    ]
    return "\n".join(
        [
            measured,
            "",
            "| figure | value | bar | reached | note |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def refresh(text: str, name: str, written: str) -> str:
    """The text with that trial's section anew.

    Raises:
        ValueError: its markers do not stand there, each once, one after the other.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{begin} and, after it, {end} must each stand once in {PAGE.name}")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{written}\n\n{end}{after}"


def _figure(result: Result) -> str:
    if not math.isfinite(result.figure):
        return "never" if result.figure > 0 else "none"
    whole = float(result.figure).is_integer()
    return f"{result.figure:,.0f} {result.unit}".strip() if whole else f"{result.figure:,.3g} {result.unit}".strip()
