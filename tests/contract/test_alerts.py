"""Alerts must ask for what there is, be tried both ways, and tell people what to do."""

from __future__ import annotations

import re
from itertools import chain

import grpc
import pytest
from google.protobuf import descriptor_pool

from audits.drift import Verdict as DriftVerdict
from audits.publishing import AUDITS
from audits.publishing import Result as AuditResult
from audits.statistics import Verdict as FairnessVerdict
from cli.main import _parser
from cli.models import MODELS
from cli.reference import ROOT
from model_registry.registry import CANDIDATE, CHAMPION
from model_registry.release import Release
from model_registry.sync_metrics import Following, SyncMetrics
from regulars.open_inference.v2 import open_inference_pb2
from regulars.scoring.v1 import scoring_pb2
from services.batch.publishing import Result as BatchResult
from services.core.metrics import FAMILIES, HANDLING_BUCKETS, LABELS, code_label
from services.core.service import load_service
from tests.support.alerts import RULES, TRIALS, Matcher, alerts, read, records, rules, trials

RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text()
SECTIONS = re.findall(r"^### (Regulars\w+)$", RUNBOOKS, re.MULTILINE)

SCRAPED = {"job", "instance", "namespace", "pod", "track"}
"""Labels that the scrape gives to all series; all but the first two in Kubernetes alone."""

NO_METRICS_OF_OURS = {"up": set[str]()}


def _labels() -> dict[str, set[str]]:
    """The labels of every series that the suite shows or publishes."""
    following = Following("churn", CHAMPION)
    following.release = Release("1", CHAMPION, "0" * 64)
    audit = AuditResult(
        *("drift", "churn", "STABLE", 0.0, 0.0), {"inputs": 0}, {("o", "m", "a", "g"): 0.0}, {("a", "g"): 0}
    )
    batch = BatchResult("churn", 0.0, 0.0, 0, {("churn", "ok"): 1}, {("churn", "churn_probability"): 0.0})
    collected = chain(SyncMetrics(following).collect(), audit.collect(), batch.collect())
    shown = {sample.name: set(sample.labels) for family in collected for sample in family.samples}
    for family in FAMILIES:
        shown[family.name] = set(family.labels)
        if family.kind == "histogram":
            shown |= {f"{family.name}_{part}": set(family.labels) for part in ("sum", "count")}
            shown[f"{family.name}_bucket"] = {*family.labels, "le"}
    return shown


SHOWN = _labels() | NO_METRICS_OF_OURS


def _services() -> dict[str, set[str]]:
    """Methods by service."""
    pool = descriptor_pool.Default()
    own = [pool.FindServiceByName(load_service(model).SERVICE) for model in MODELS]
    others = (scoring_pb2.DESCRIPTOR, open_inference_pb2.DESCRIPTOR)
    shared = [service for file in others for service in file.services_by_name.values()]
    return {service.full_name: set(service.methods_by_name) for service in [*own, *shared]}


VALUES: dict[str, set[str]] = {
    **{label: set(re.findall(r"`(\w+)`", LABELS[label])) for label in ("grpc_type", "stage", "lane", "outcome")},
    "scored_by": set(re.findall(r"`(\w+)`", LABELS["scored_by"])),
    "grpc_code": {code_label(code) for code in grpc.StatusCode},
    "grpc_service": set(_services()),
    "grpc_method": set().union(*_services().values()),
    "le": {*map(str, HANDLING_BUCKETS), "+Inf"},
    "audit": set(AUDITS),
    "verdict": {*DriftVerdict, *FairnessVerdict},
    "alias": {CHAMPION, CANDIDATE},
    "track": {"stable", "canary", "shadow"},
    "field": {"status"},
    "job": {"shop/regulars"},
    "__name__": set(SHOWN),
}
"""What may be asked of a label."""


def labels_of(metric: str) -> set[str]:
    if metric in records():
        asked = read(records()[metric])
        return set(asked.grouped).union(*(labels_of(one) for one in asked.metrics))
    return SHOWN[metric] | SCRAPED


def is_met(matcher: Matcher, alternative: str) -> bool:
    if matcher.sign in {"=", "!="}:
        return alternative in VALUES[matcher.label]
    return any(re.fullmatch(alternative, value) for value in VALUES[matcher.label])


def alternatives(matcher: Matcher) -> list[str]:
    """Each of them must mean something, unless they are parts of words."""
    return [matcher.value] if matcher.sign in {"=", "!="} or "(" in matcher.value else matcher.value.split("|")


NAMED = [pytest.param(rule["expr"], id=rule.get("alert") or rule["record"]) for rule in rules()]


@pytest.mark.parametrize("expression", NAMED)
def test_an_expression_names_metrics_labels_and_values_that_there_are(expression: str) -> None:
    asked = read(expression)
    known = SHOWN.keys() | records().keys()
    assert asked.metrics <= known
    assert asked.metrics
    assert asked.grouped <= set().union(*(labels_of(metric) for metric in asked.metrics))
    for matcher in asked.matchers:
        if matcher.metric:
            assert matcher.label in labels_of(matcher.metric), matcher
        if matcher.value:
            assert [one for one in alternatives(matcher) if not is_met(matcher, one)] == [], matcher


@pytest.mark.parametrize(
    ("expression", "metrics", "grouped", "conditions"),
    [
        ("a > 1", {"a"}, set(), 0),
        (
            'sum by (b, c) (rate(a{d="e,f}", g=~"h|i"}[5m] offset 1d)) and on (j) b:a:sum',
            {"a", "b:a:sum"},
            set("bcj"),
            2,
        ),
        ("a / on (b) group_left () c unless d", {"a", "c", "d"}, {"b"}, 0),
    ],
)
def test_what_an_expression_names_is_read_off_it(
    expression: str, metrics: set[str], grouped: set[str], conditions: int
) -> None:
    asked = read(expression)
    assert (set(asked.metrics), set(asked.grouped), len(asked.matchers)) == (metrics, grouped, conditions)


def test_no_name_is_given_twice() -> None:
    assert len(alerts()) + len(records()) == len(rules())


@pytest.mark.parametrize("record", records())
def test_a_record_is_named_by_its_level_its_metric_and_what_was_done(record: str) -> None:
    level, _, rest = record.partition(":")
    assert re.fullmatch(r"\w+:\w+", rest)
    assert all(part in labels_of(record) for part in re.findall("output_decile|.+", level) if part in LABELS)


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_who_is_to_look_what_is_the_matter_and_where_to_read_on(alert: str) -> None:
    rule = alerts()[alert]
    assert alert.startswith("Regulars")
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{alert.lower()}"
    assert re.search(r"\{\{ .*\$(value|labels\.version)", rule["annotations"]["description"]), "tells no figure"


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    assert sorted(SECTIONS) == sorted(alerts())


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_is_tried_where_it_fires_and_where_it_never_does(alert: str) -> None:
    tried = [trial for trial in trials() if trial.alert == alert]
    firing = {trial.test for trial in tried if trial.fires}
    assert firing
    assert {trial.test for trial in tried} - firing


def test_what_is_tried_are_alerts_of_the_file_of_the_same_name() -> None:
    assert {trial.alert for trial in trials()} <= alerts().keys()
    assert {file.name for file in TRIALS.glob("*.yaml")} == {file.name for file in RULES.glob("*.yaml")}


def test_the_runbooks_name_commands_that_there_are() -> None:
    commands = re.findall(r"^(?:kubectl .* -- )?regulars (.+)$", RUNBOOKS, re.MULTILINE)
    commands += re.findall(r"`regulars ([^`]+)`", RUNBOOKS)
    assert len(commands) > 10
    for command in commands:
        _parser().parse_args(command.split())


def test_the_runbooks_ask_for_metrics_that_there_are() -> None:
    queries = re.findall(r"```promql\n(.*?)```", RUNBOOKS, re.DOTALL)
    assert queries
    for query in queries:
        asked = read(query)
        assert asked.metrics <= SHOWN.keys() | records().keys(), query
        assert {matcher.label for matcher in asked.matchers} <= set().union(*map(labels_of, asked.metrics)), query
