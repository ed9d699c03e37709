"""The table: a row is a workload, a column a system, and the last column says how Regulars stands to the best peer."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

OURS = "Regulars"

EQUAL = 0.98
"""Medians that are closer than that are as good as each other: rounds of one system differ by more."""


@dataclass(frozen=True)
class Workload:
    """One figure of every system. `why` is what makes Regulars lose it, where it does.

    Figures that are not `compared` are of different loads, or belong to another row.
    """

    name: str
    unit: str
    more_is_better: bool
    why: str = ""
    compared: bool = True


@dataclass(frozen=True)
class Standing:
    """How Regulars stands to the best peer: 2 is twice as good, in rates as in times.

    Where calls failed there is no time: 0 is Regulars' failure, infinity everybody else's.
    """

    workload: Workload
    best: str
    times: float

    @property
    def loss(self) -> str:
        """In words."""
        by = f"{self.best} {1 / self.times:.2f} times as good" if self.times else f"{self.best} answers"
        return f"{self.workload.name} ({by})"


@dataclass
class Board:
    """Figures by workload and system, in the order in which they came; or a word in place of them."""

    peers: tuple[str, ...]
    """With whom Regulars is compared; other columns are its own second interface and the floors."""

    figures: dict[Workload, dict[str, list[float]]] = field(default_factory=dict)
    words: dict[tuple[Workload, str], str] = field(default_factory=dict)

    def add(self, workload: Workload, system: str, figure: float) -> None:
        self.figures.setdefault(workload, {}).setdefault(system, []).append(figure)

    def say(self, workload: Workload, system: str, word: str) -> None:
        self.figures.setdefault(workload, {})
        self.words[workload, system] = word

    def median(self, workload: Workload, system: str) -> float | None:
        figures = self.figures.get(workload, {}).get(system)
        return statistics.median(figures) if figures else None

    def standing(self, workload: Workload) -> Standing | None:
        ours = self.median(workload, OURS)
        theirs = {peer: median for peer in self.peers if (median := self.median(workload, peer)) is not None}
        if not workload.compared or ours is None or not theirs:
            return None
        if workload.more_is_better:
            best = max(theirs, key=lambda peer: theirs[peer])
            return Standing(workload, best, ours / theirs[best])
        best = min(theirs, key=lambda peer: theirs[peer])
        if math.isinf(ours) and math.isinf(theirs[best]):
            return None
        return Standing(workload, best, theirs[best] / ours)

    def losses(self) -> list[Standing]:
        standings = (self.standing(workload) for workload in self.figures)
        return [standing for standing in standings if standing is not None and standing.times < EQUAL]

    def table(self, workloads: list[Workload], systems: list[str]) -> str:
        head = ["workload", "unit", *systems, "Regulars to the best peer"]
        rows = [
            [workload.name, workload.unit, *(self._cell(workload, system) for system in systems), self._stand(workload)]
            for workload in workloads
            if workload in self.figures
        ]
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])

    def _cell(self, workload: Workload, system: str) -> str:
        if (workload, system) in self.words:
            return self.words[workload, system]
        figures = self.figures[workload].get(system)
        if not figures:
            return ""
        median = shown(statistics.median(figures))
        if len(figures) == 1 or shown(min(figures)) == shown(max(figures)):
            return median
        return f"{median} ({shown(min(figures))} to {shown(max(figures))})"

    def _stand(self, workload: Workload) -> str:
        standing = self.standing(workload)
        if standing is None:
            return ""
        text = "they never" if math.isinf(standing.times) else f"{standing.times:.2f} ({standing.best})"
        return f"**{text}**" if standing.times < EQUAL else text


def shown(value: float) -> str:
    """Three digits, and thousands in full."""
    if math.isinf(value):
        return "never"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
