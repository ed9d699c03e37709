"""Reading the metrics of this process."""

from __future__ import annotations

from prometheus_client import REGISTRY

Series = tuple[str, frozenset[tuple[str, str]]]


def page(**labels: str) -> dict[Series, float]:
    """Every series with these labels: its name and its other labels, and its value."""
    wanted = set(labels.items())
    return {
        (sample.name, frozenset(sample.labels.items() - wanted)): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if wanted <= sample.labels.items()
    }


def increase(before: dict[Series, float], after: dict[Series, float]) -> dict[Series, float]:
    """What has changed between two pages, and by how much."""
    changes = {series: value - before.get(series, 0.0) for series, value in after.items()}
    return {series: change for series, change in changes.items() if change}


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())
