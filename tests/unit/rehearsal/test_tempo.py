from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.rehearsal.stage import rule_files
from tests.rehearsal.tempo import hasten, hasten_expression, hasten_rules, write_hastened

if TYPE_CHECKING:
    from pathlib import Path


@given(st.integers(1, 100_000))
def test_a_minute_becomes_a_second(minutes: int) -> None:
    assert hasten(f"{minutes}m") == f"{minutes}s"
    assert hasten(f"{minutes}h") == hasten(f"{60 * minutes}m")


@pytest.mark.parametrize(
    ("duration", "hastened"), [("30s", "500ms"), ("1h30m", "90s"), ("1d", "1440s"), ("60ms", "1ms"), ("0s", "0s")]
)
def test_durations_of_every_unit(duration: str, hastened: str) -> None:
    assert hasten(duration) == hastened


@pytest.mark.parametrize("duration", ["", "5", "m", "5 m", "1ms", "five"])
def test_what_is_no_duration_or_would_be_none_is_refused(duration: str) -> None:
    with pytest.raises(ValueError, match=r"duration|milliseconds"):
        hasten(duration)


@pytest.mark.parametrize(
    ("expression", "hastened"),
    [
        ("rate(x[5m]) > 0.1", "rate(x[5s]) > 0.1"),
        ("max_over_time(x[1h:1m])", "max_over_time(x[60s:1s])"),
        ("x - x offset 1d", "x - x offset 1440s"),
        ("increase(x[10m] offset 15m)", "increase(x[10s] offset 15s)"),
        # A name may look like a duration, and a text like a window.
        ("a:b:ratio_rate5m > 14.4 * 0.001", "a:b:ratio_rate5m > 14.4 * 0.001"),
        ('x{y=~"[5m]", z="offset 5m"}[5m]', 'x{y=~"[5m]", z="offset 5m"}[5s]'),
        (r'x{y="\"[5m]"}', r'x{y="\"[5m]"}'),
        # How long ago something was, and how long it is until it is.
        ("time() - max by (m) (x) > 8 * 24 * 3600", "time() - max by (m) (x) > 8 * 24 * 3600 / 60"),
        ("min(x > 0) - time() < 3600", "min(x > 0) - time() < 3600 / 60"),
        ("time() - x[1d] >= 900 and y > 900", "time() - x[1440s] >= 900 / 60 and y > 900"),
    ],
)
def test_an_expression(expression: str, hastened: str) -> None:
    assert hasten_expression(expression) == hastened


def test_a_rule_keeps_all_that_is_no_time() -> None:
    rule = {"alert": "A", "expr": "rate(x[5m]) > 5", "for": "2m", "keep_firing_for": "10m", "labels": {"for": "5m"}}
    content = {"groups": [{"name": "g", "interval": "30s", "rules": [rule]}]}
    hastened = rule | {"expr": "rate(x[5s]) > 5", "for": "2s", "keep_firing_for": "10s"}
    assert hasten_rules(content) == {"groups": [{"name": "g", "interval": "500ms", "rules": [hastened]}]}
    assert rule["for"] == "2m"


def test_the_suites_own_rules_spell_no_time_that_is_not_hastened(tmp_path: Path) -> None:
    """Whatever a later rule spells otherwise, such as a limit of an age on the left, shows here."""
    for original, file in zip(rule_files(), write_hastened(rule_files(), tmp_path), strict=True):
        assert file.name == original.name
        rules = [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
        for rule in rules:
            assert ("time()" in rule["expr"]) == bool(re.search(r"\* 60 / 60|\* 3600 / 60", rule["expr"])), rule
            assert not re.search(r"\[\d+[mhdw]|offset \d+[mhdw]", rule["expr"])
