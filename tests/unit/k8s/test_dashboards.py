"""The dashboards are what the code makes of them, can be read, and ask for what there is."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from audits.publishing import Result
from k8s.monitoring.files import COMPONENT, generated
from k8s.monitoring.grafana import dashboard
from k8s.monitoring.objectives import AVAILABILITY, FAST_BURN, MEDIUM_BURN, PROMPT_SECONDS, PROMPTNESS
from k8s.monitoring.panels import WIDEST, Dashboard, Panel, Query, Row
from tests.contract.test_metrics_page import LABELS
from tests.support.dashboards import PAGES, RULES, Question, named_variables, panels, questions, variables

if TYPE_CHECKING:
    from pathlib import Path

UNITS = {"none", "s", "bytes", "percentunit", "reqps"}
"""Names that Grafana knows; besides, `suffix:` stands before a text of our own."""

FILLED_IN_BY_GRAFANA = {"__rate_interval"}

WORDS = (
    {"sum", "min", "max", "count", "topk", "and"}
    | {"rate", "increase", "sum_over_time", "histogram_quantile", "time"}
)  # fmt: skip
"""Of PromQL."""

GROUPING = r"\b(?:by|on|ignoring|group_left|group_right) \(([^)]*)\)"

AUDIT = {
    sample.name: set(sample.labels)
    for family in Result(
        "fairness", "churn", "PASS", 0.0, 0.0, {"inputs": 1}, {("", "", "", ""): 0.0}, {("", ""): 1}
    ).collect()
    for sample in family.samples
}

PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
"""What prometheus_client tells of any process of one's own."""

SCRAPED = {"instance", "namespace", "le"}
"""Labels that come with the scrape, or are a histogram's."""


HISTOGRAMS = ("grpc_server_handling_seconds", "regulars_stage_seconds", "regulars_shadow_difference")


def metrics_of(expression: str) -> set[str]:
    bare = re.sub(rf"\{{[^}}]*\}}|\[[^\]]*\]|{GROUPING}", "", expression)
    named = set(re.findall(r"\b[a-zA-Z_][\w:]*", bare)) - WORDS
    return {re.sub("_(bucket|sum|count)$", "", name) if name.startswith(HISTOGRAMS) else name for name in named}


def grouped_by(expression: str) -> set[str]:
    return {label for group in re.findall(GROUPING, expression) for label in re.findall(r"\w+", group)}


def recorded() -> dict[str, set[str]]:
    """What the rules record, with the labels that they sum up by, or that were there before."""
    made: dict[str, set[str]] = {}
    for rule in RULES:
        if "record" in rule:
            expression = rule["expr"]
            before = (made[name] for name in metrics_of(expression) & made.keys())
            made[rule["record"]] = grouped_by(expression).union(*before)
    return made


KNOWN = LABELS | AUDIT | {name: set() for name in PROCESS} | recorded()
"""Labels by metric."""


def labels_of(question: Question) -> set[str]:
    selected = {
        label
        for selector in re.findall(r"\{([^}]*)\}", question.expression)
        for label in re.findall(r'(\w+)(?:=~|!~|!=|=)"', selector)
    }
    return selected | grouped_by(question.expression) | set(re.findall(r"\{\{(\w+)\}\}", question.legend))


GENERATED = generated()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_what_is_committed_is_what_the_code_writes(path: Path) -> None:
    assert path.read_text() == GENERATED[path], "run: python -m k8s.monitoring"


def test_nothing_is_left_of_a_dashboard_that_was_renamed() -> None:
    assert {*(COMPONENT / "dashboards").iterdir()} == {path for path in GENERATED if path.suffix == ".json"}


def test_kubectl_can_apply_them_in_one_piece() -> None:
    pages = {path.name: text for path, text in GENERATED.items() if path.suffix == ".json"}
    # It keeps what it applied in an annotation, and Kubernetes takes 256 KiB of those.
    assert len(json.dumps(pages)) < 200 * 1024


def test_the_rules_stand_in_one_resource_as_they_were_written() -> None:
    text = (COMPONENT / "prometheus-rule.yaml").read_text()
    assert text.startswith("# Generated ")
    resource = yaml.safe_load(text)
    assert (resource["apiVersion"], resource["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert [rule for group in resource["spec"]["groups"] for rule in group["rules"]] == RULES
    names = [group["name"] for group in resource["spec"]["groups"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", PAGES)
class TestPage:
    def test_its_address_is_its_name(self, name: str) -> None:
        assert PAGES[name]["uid"] == f"regulars-{name}"
        assert len(PAGES[name]["uid"]) <= 40, "Grafana takes no longer ones"

    def test_every_panel_has_a_title_a_description_and_a_unit(self, name: str) -> None:
        for panel in panels(PAGES[name]):
            assert panel["title"]
            assert panel["description"].endswith("."), panel["title"]
            unit = panel["fieldConfig"]["defaults"]["unit"]
            assert unit in UNITS or re.fullmatch("suffix:[a-z/]+", unit), panel["title"]

    def test_no_title_and_no_number_stands_twice(self, name: str) -> None:
        titles = [panel["title"] for panel in PAGES[name]["panels"]]
        numbers = [panel["id"] for panel in PAGES[name]["panels"]]
        assert len(titles) == len(set(titles))
        assert len(numbers) == len(set(numbers))

    def test_a_panel_that_is_named_elsewhere_is_there(self, name: str) -> None:
        titles = {panel["title"] for panel in panels(PAGES[name])}
        for panel in panels(PAGES[name]):
            assert set(re.findall(r"'([A-Z][^']+)'", panel["description"])) <= titles, panel["title"]

    def test_the_grid_holds_it(self, name: str) -> None:
        assert flaws([panel["gridPos"] for panel in PAGES[name]["panels"]]) == []

    def test_every_variable_is_defined_before_it_is_used(self, name: str) -> None:
        page = PAGES[name]
        defined = {"datasource"}
        for variable in variables(page):
            assert named_variables(variable["query"]["query"]) <= defined, variable["name"]
            defined.add(variable["name"])
        used = named_variables(json.dumps([page["panels"], page["annotations"], page["links"]]))
        assert used - FILLED_IN_BY_GRAFANA <= defined | {"runbooks"}
        assert defined <= used | {name for one in variables(page) for name in named_variables(one["query"]["query"])}


def test_every_alert_is_linked_where_it_can_be_seen_and_no_other() -> None:
    linked = {
        link["url"].removeprefix("${runbooks}#")
        for page in PAGES.values()
        for panel in panels(page)
        for link in panel["links"]
    }
    assert linked == {rule["alert"].lower() for rule in RULES if "alert" in rule}


@pytest.mark.parametrize("question", questions(), ids=lambda question: f"{question.page}: {question.title}")
def test_a_question_is_about_metrics_and_labels_that_there_are(question: Question) -> None:
    metrics = metrics_of(question.expression)
    assert metrics
    assert metrics <= KNOWN.keys()
    assert labels_of(question) <= SCRAPED.union(*(KNOWN[metric] for metric in metrics))


@pytest.mark.parametrize(("budget", "objective"), [("Error", AVAILABILITY), ("Latency", PROMPTNESS)])
def test_the_alerts_have_the_same_objectives(budget: str, objective: float) -> None:
    asked = {rule.get("alert", rule.get("record")): rule["expr"] for rule in RULES}
    for speed, burn in (("Fast", FAST_BURN), ("Medium", MEDIUM_BURN)):
        assert f"> {burn:g} * {1 - objective:.3g}\n" in asked[f"Regulars{budget}Budget{speed}Burn"]
    assert f'{{le="{PROMPT_SECONDS}"}}' in asked["grpc_service:regulars_calls_slow:increase5m"]


def flaws(places: list[dict[str, int]]) -> list[str]:
    """Panels that stand over the edge, or over each other."""
    over = [f"{place} is wider than the page" for place in places if place["x"] + place["w"] > WIDEST]
    return over + [
        f"{one} lies over {other}"
        for one, other in combinations(places, 2)
        if one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    ]


def test_flaws_are_found() -> None:
    first = {"x": 0, "y": 0, "w": 12, "h": 8}
    assert len(flaws([first, {"x": 11, "y": 7, "w": 14, "h": 1}])) == 2
    assert flaws([first, {"x": 12, "y": 0, "w": 12, "h": 8}, {"x": 0, "y": 8, "w": 24, "h": 1}]) == []


SIZES = st.lists(st.lists(st.tuples(st.integers(1, WIDEST), st.integers(1, 12)), max_size=8), max_size=4)


@given(sizes=SIZES)
def test_whatever_their_sizes_panels_lie_apart_and_in_order(sizes: list[list[tuple[int, int]]]) -> None:
    rows = tuple(
        Row(f"row {number}", tuple(panel(f"{number}", width, height) for width, height in row))
        for number, row in enumerate(sizes)
    )
    made: list[dict[str, Any]] = dashboard(Dashboard("page", "Page", "A page.", (), rows))["panels"]
    places = [one["gridPos"] for one in made]
    assert flaws(places) == []
    assert places == sorted(places, key=lambda place: (place["y"], place["x"]))
    assert [place["w"] for place in places if place["h"] != 1] == [w for row in sizes for w, h in row if h != 1]


def panel(title: str, width: int, height: int) -> Panel:
    return Panel(title, "What it shows.", "s", (Query("up"),), width=width, height=height)
