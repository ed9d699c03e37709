"""The dashboards as they are committed, and what Grafana asks for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

COMPONENT = Path(__file__).parents[2] / "k8s" / "components" / "monitoring"

PAGES: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text()) for file in sorted((COMPONENT / "dashboards").glob("*.json"))
}

RULES: list[dict[str, Any]] = [
    rule
    for file in sorted((COMPONENT / "rules").glob("*.yaml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]


class Question(NamedTuple):
    """What a panel, or the marks across all panels, asks Prometheus."""

    page: str
    title: str
    expression: str
    legend: str


def panels(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in page["panels"] if panel["type"] != "row"]


def variables(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that Prometheus is asked for."""
    return [one for one in page["templating"]["list"] if one["type"] == "query"]


def questions() -> list[Question]:
    asked = []
    for name, page in PAGES.items():
        asked += [
            Question(name, panel["title"], target["expr"], target["legendFormat"])
            for panel in panels(page)
            for target in panel["targets"]
        ]
        asked += [
            Question(name, marks["name"], marks["expr"], marks["titleFormat"]) for marks in page["annotations"]["list"]
        ]
    return asked


def named_variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{?(\w+)", text))
