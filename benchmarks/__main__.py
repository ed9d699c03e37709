"""Runs the benchmarks; each writes its section of `benchmarks/RESULTS.md`.

./dev bench [features] [training] [serving] [instrumentation] [batch] [growth]        all of these by default
./dev bench peers                                                                     the other systems beside ours
"""

from __future__ import annotations

import datetime as dt
import importlib
import os
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Page, cores

if TYPE_CHECKING:
    from benchmarks.harness import Figure

BENCHMARKS = ("features", "training", "serving", "instrumentation", "batch", "growth")
PEERS = "peers"
"""Only by its name: it takes half an hour, and installs other systems."""

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("grpcio", "protobuf", "onnxruntime", "lightgbm", "duckdb", "ibis-framework", "pyarrow", "numpy")


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(names) - {*BENCHMARKS, PEERS}
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {', '.join([*BENCHMARKS, PEERS])}")
    failures: list[str] = []
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        busy = os.getloadavg()[0]
        measured: list[Figure] | Page = importlib.import_module(f"benchmarks.{name}").measure()
        page = measured if isinstance(measured, Page) else Page(table(measured))
        written = section(name, page.text, busy)
        print(written)
        RESULTS.write_text(refresh(RESULTS.read_text(), name, written))
        failures += page.failures
    if failures:
        sys.exit("\n".join(failures))


def refresh(page: str, name: str, section: str) -> str:
    """The page with a benchmark's section replaced, or with it at the end where it had none."""
    head, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    named = {one.partition("\n")[0].removeprefix("## "): one for one in sections}
    return head + "\n".join(one.rstrip() + "\n" for one in {**named, name: section}.values())


def table(figures: list[Figure]) -> str:
    rows = [
        f"| {figure.name} | {figure.value:,.4g} | {figure.unit} | {figure.bar} | {figure.note} |" for figure in figures
    ]
    return "\n".join(["| figure | value | unit | bar | note |", "|---|---|---|---|---|", *rows, ""])


def section(name: str, text: str, busy: float) -> str:
    """A benchmark's text with what it was measured on; `busy` is the load average before, of other work."""
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    measured = (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {cores()}, load average {busy:.1f} before, "
        f"Python {platform.python_version()}, {packages}."
    )
    return f"## {name}\n\n{measured}\n\n{text}"


if __name__ == "__main__":
    main()
