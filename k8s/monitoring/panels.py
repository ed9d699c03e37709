"""What a dashboard is made of, as values; `k8s.monitoring.grafana` makes Grafana's JSON of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

WIDEST = 24
"""Columns of Grafana's grid."""


class Look(Enum):
    """How a panel shows its series; the values are Grafana's names."""

    LINES = "timeseries"
    FIGURES = "stat"
    TABLE = "table"
    BARS = "bargauge"


@dataclass(frozen=True)
class Query:
    """PromQL, and what a series is called, with its labels as `{{label}}`.

    `$model`, `$instance` and the like are the dashboard's variables; Grafana fills in `$__rate_interval`.
    """

    expression: str
    legend: str = ""


Limits = tuple[tuple[str, float], ...]
"""Colours, each with the value that it begins at; below the first, a figure is green."""


def rising(orange: float, red: float) -> Limits:
    """Of a figure that is worse the higher it is."""
    return ("orange", orange), ("red", red)


def falling(orange: float, green: float) -> Limits:
    """Of a figure that is worse the lower it is: red, then orange, then green."""
    return ("red", float("-inf")), ("orange", orange), ("green", green)


@dataclass(frozen=True)
class Panel:
    """One picture.

    `description` tells who is on call what to do, and `alerts` are those whose runbook says more. `unit` is Grafana's
    name of it. `stacking` is Grafana's too: `normal`, or `percent` for shares of a whole. A panel is drawn once for
    each value of the variable `repeated`.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    look: Look = Look.LINES
    width: int = 8
    height: int = 8
    limits: Limits = ()
    decimals: int | None = None
    stacking: str = "none"
    repeated: str | None = None
    alerts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """Panels under one heading, laid from left to right and then downwards."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice among the values that `label` has in the series of `selector`; several or all of them at first.

    `matching_all` is the pattern that stands for all: without one, all that there are at the time.
    """

    name: str
    title: str
    label: str
    selector: str
    matching_all: str | None = None
    hidden: bool = False


@dataclass(frozen=True)
class Marks:
    """Lines across all panels, each at the Unix time that is a value of `expression`."""

    title: str
    expression: str
    legend: str


@dataclass(frozen=True)
class Dashboard:
    """A page. `name` is the stable half of its address, and of its file."""

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    marks: tuple[Marks, ...] = ()
    since: str = "now-6h"
    refresh: str = "30s"
    tags: tuple[str, ...] = field(default=("regulars",))
