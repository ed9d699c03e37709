"""The alerts, what they ask for, and what is tried of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from cli.reference import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = ROOT / "k8s" / "components" / "monitoring" / "rules"
TRIALS = ROOT / "tests" / "alerts"
"""One file for each of the rules', for promtool."""

_WORDS = {"and", "or", "unless", "by", "on", "ignoring", "without", "group_left", "offset", "bool"}
_STRING = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = rf"([\w:]*)\{{((?:[^\"}}]|{_STRING})*)\}}"
_CONDITION = rf"(\w+)\s*(=~|!~|!=|=)\s*({_STRING})"
_LIST = r"\b(?:by|on|ignoring|without|group_left)\s*\(([^)]*)\)"
_NO_NAMES = (_LIST, r"\{[^}]*\}", r"\[[^\]]*\]", r"\boffset \w+")


@dataclass(frozen=True)
class Matcher:
    """One condition of a selector."""

    metric: str
    label: str
    sign: str
    value: str


@dataclass(frozen=True)
class Expression:
    """What a PromQL expression names."""

    metrics: frozenset[str]
    grouped: frozenset[str]
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True)
class Trial:
    """One moment of one of promtool's tests."""

    test: str
    alert: str
    fires: bool


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """Of all files, alerts and records."""
    groups = [group for file in sorted(RULES.glob("*.yaml")) for group in yaml.safe_load(file.read_text())["groups"]]
    return tuple(rule for group in groups for rule in group["rules"])


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """By name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@cache
def records() -> dict[str, str]:
    """Expressions by the name that they are recorded under."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def trials() -> Iterator[Trial]:
    for file in sorted(TRIALS.glob("*.yaml")):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for moment in test["alert_rule_test"]:
                yield Trial(test["name"], moment["alertname"], bool(moment["exp_alerts"]))


def read(expression: str) -> Expression:
    """What it names, as far as text tells: for the expressions of our own rules, not for any."""
    matchers = tuple(
        Matcher(metric, label, sign, value[1:-1])
        for metric, selector in re.findall(_SELECTOR, expression)
        for label, sign, value in re.findall(_CONDITION, selector)
    )
    bare = re.sub(_STRING, "", expression)
    grouped = frozenset(re.findall(r"\w+", " ".join(re.findall(_LIST, bare))))
    for pattern in _NO_NAMES:
        bare = re.sub(pattern, " ", bare)
    # What a parenthesis follows is a function.
    names = set(re.findall(r"\b[a-zA-Z_][\w:]*\b(?!\s*\()", bare)) - _WORDS
    return Expression(frozenset(names), grouped, matchers)
