"""Every panel of every dashboard, and every question of the documentation, asked of a real Prometheus."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from cli.reference import ROOT
from tests.support.dashboards import PAGES, RULES, Question, questions, variables
from tests.support.watched import watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.prometheus import Prometheus, Sample

pytestmark = pytest.mark.prometheus

ASKED = [
    (file.name, query)
    for file in sorted((ROOT / "docs").glob("*.md"))
    for query in re.findall(r"```promql\n(.*?)```", file.read_text(), re.DOTALL)
]

RATE_INTERVAL = "5m"
"""As Grafana has it where pages are read every 75 s; longer than the suite has been there, on a busy machine too."""

SHORTER = {"[30d:5m]": "[1m:1s]"}
"""Steps of five minutes lie at whole multiples of them, of which the suite has seen none."""

NOTHING_TO_SHOW = {
    "Failures of sync": "the registry is there all the time",
}
"""Panels that rightly show zeros alone."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with watched(tmp_path_factory.mktemp("watched")) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def chosen(seen: Prometheus) -> dict[str, dict[str, str]]:
    """By page, what stands for each variable where all is chosen."""
    return {name: choices(seen, page) for name, page in PAGES.items()}


def choices(seen: Prometheus, page: dict[str, Any]) -> dict[str, str]:
    made = {"__rate_interval": RATE_INTERVAL}
    for variable in variables(page):
        question = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert question, variable["name"]
        selector, label = question.groups()
        found = [one.labels.get(label, "") for one in seen.query(f"group by ({label}) ({filled(selector, made)})")]
        made[variable["name"]] = variable.get("allValue") or any_of(value for value in found if value)
    return made


def any_of(values: Iterator[str]) -> str:
    """As Grafana writes several values into a pattern, whose backslashes PromQL reads twice."""
    alternatives = "|".join(re.escape(value).replace("\\", r"\\") for value in sorted(values))
    assert alternatives
    return f"({alternatives})"


def filled(expression: str, chosen: dict[str, str]) -> str:
    for window, shorter in SHORTER.items():
        expression = expression.replace(window, shorter)
    return re.sub(r"\$(\w+)", lambda found: chosen[found[1]], expression)


def finite(samples: list[Sample]) -> list[float]:
    return [sample.value for sample in samples if math.isfinite(sample.value)]


@pytest.mark.parametrize("question", questions(), ids=lambda question: f"{question.page}: {question.title}")
def test_a_panel_shows_what_happened(seen: Prometheus, chosen: dict[str, dict[str, str]], question: Question) -> None:
    samples = seen.query(filled(question.expression, chosen[question.page]))
    assert finite(samples)
    assert any(finite(samples)) or question.title in NOTHING_TO_SHOW
    told = set(re.findall(r"\{\{(\w+)\}\}", question.legend))
    assert told <= set().union(*(sample.labels for sample in samples))


@pytest.mark.parametrize(("page", "query"), ASKED)
def test_what_a_page_of_the_documentation_asks_is_answered(seen: Prometheus, page: str, query: str) -> None:
    # What should not be is mostly not there: what it is looked for in is.
    whole = re.split(r"\s(?:>|==|unless)\s", query)[0]
    assert finite(seen.query(query)) or finite(seen.query(whole))


def test_every_rule_can_be_evaluated(seen: Prometheus) -> None:
    assert len(seen.rules()) == len(RULES)
    assert [rule for rule in seen.rules() if rule.error] == []
