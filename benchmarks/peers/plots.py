"""The comparison at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.peers import workloads
from benchmarks.peers.board import OURS, shown
from benchmarks.peers.floors import BARE, COMPILED, EMPTY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.peers.board import Board, Workload

FOLDER = Path(__file__).parents[1] / "plots"
PLOTS = {
    "peers-rates.svg": "Calls a second for one customer, by connections",
    "peers-waiting.svg": "How long calls take that come at a fixed rate",
    "peers-tables.svg": "Customers a second, by customers in a call",
}

# Okabe and Ito's colours, which all eyes tell apart; markers say the same once more.
STYLES = {
    "Regulars": ("#0072B2", "o"),
    "Regulars, Open Inference": ("#56B4E9", "s"),
    "Triton": ("#D55E00", "^"),
    "MLServer": ("#009E73", "D"),
    "MLflow": ("#CC79A7", "v"),
    "BentoML": ("#E69F00", "P"),
    EMPTY: ("#999999", "x"),
    BARE: ("#666666", "x"),
    COMPILED: ("#BBBBBB", "x"),
}


def draw(board: Board, systems: list[str]) -> None:
    """Writes the three of them, the same bytes from the same figures."""
    FOLDER.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "regulars", "font.size": 9, "svg.fonttype": "path"}):
        connections = {loop.connections: loop.rate for loop in workloads.UNARY}
        _write("peers-rates.svg", _lines(board, [*systems, EMPTY], connections, "connections", "calls/s"))
        _write("peers-waiting.svg", _waiting(board, systems))
        sizes = {loop.rows: loop.rate for loop in (workloads.UNARY[0], *workloads.TABLES)}
        named = "customers in a call, 1 connection"
        _write("peers-tables.svg", _lines(board, [*systems, BARE, COMPILED], sizes, named, "customers/s"))


def _lines(board: Board, systems: list[str], points: dict[int, Workload], along: str, unit: str) -> Figure:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for system in systems:
        found = {at: median for at, workload in points.items() if (median := board.median(workload, system))}
        if found:
            colour, marker = STYLES[system]
            dashed = "--" if system.startswith("floor") else "-"
            width = 2.4 if system == OURS else 1.2
            axes.plot(
                list(found), list(found.values()), dashed, color=colour, marker=marker, linewidth=width, label=system
            )
    axes.set_xscale("log")
    axes.set_xticks(list(points), [f"{point:,}" for point in points])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(along)
    _finish(axes, unit)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _waiting(board: Board, systems: list[str]) -> Figure:
    """A line from p50 to p99 for each system, at the rates that are the same for all."""
    loops = [loop for loop in workloads.OPEN if loop.rate]
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    for axes, loop in zip(figure.subplots(1, len(loops), sharey=True), loops, strict=True):
        for at, system in enumerate(systems):
            p50, p99 = (board.median(loop.p(share), system) for share in (50, 99))
            colour, marker = STYLES[system]
            if p50 is None or p99 is None:
                axes.text(at, 0.5, "beyond\nits rate", ha="center", transform=axes.get_xaxis_transform(), fontsize=7)
                continue
            axes.plot([at, at], [p50, p99], color=colour, linewidth=3)
            axes.plot([at], [p50], marker=marker, color=colour, markersize=6)
            axes.plot([at], [p99], marker="_", color=colour, markersize=14, markeredgewidth=2)
        axes.set_title(f"{loop.rate:,.0f} calls/s", fontsize=9)
        axes.set_xticks(
            range(len(systems)), [system.replace(", ", ",\n") for system in systems], rotation=45, ha="right"
        )
        axes.set_xlim(-0.6, len(systems) - 0.4)
        _finish(axes, "ms, from p50 (marker) to p99 (bar)" if axes is figure.axes[0] else "")
    return figure


def _finish(axes: Axes, unit: str) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axes.set_ylabel(unit)
    axes.grid(axis="y", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _write(name: str, figure: Figure) -> None:
    figure.savefig(FOLDER / name, metadata={"Date": None})
