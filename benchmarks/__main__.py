"""Runs the benchmarks and writes `benchmarks/RESULTS.md`.

./dev bench [features] [training] [serving] [instrumentation]
"""

from __future__ import annotations

import datetime as dt
import importlib
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import cores

if TYPE_CHECKING:
    from benchmarks.harness import Figure

BENCHMARKS = ("features", "training", "serving", "instrumentation")
RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("grpcio", "protobuf", "onnxruntime", "lightgbm", "duckdb", "ibis-framework", "numpy")


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    sections = {}
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        sections[name] = section(name, importlib.import_module(f"benchmarks.{name}").measure())
        print(sections[name])
    if set(names) == set(BENCHMARKS):
        RESULTS.write_text("\n".join([heading(), *sections.values()]))
        print(f"written to {RESULTS}", file=sys.stderr)


def heading() -> str:
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        "# Benchmarks\n\n"
        "Written by `./dev bench`. Absolute figures are this machine's; the ratios, each measured in one run, are\n"
        "what a bar is set on.\n\n"
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {cores()}, Python {platform.python_version()}, {packages}.\n"
    )


def section(name: str, figures: list[Figure]) -> str:
    rows = [
        f"| {figure.name} | {figure.value:,.4g} | {figure.unit} | {figure.bar} | {figure.note} |" for figure in figures
    ]
    return "\n".join([f"## {name}\n", "| figure | value | unit | bar | note |", "|---|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    main()
