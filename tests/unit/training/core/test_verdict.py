"""The grade's reasons agree with the grade."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.evidence import Comparison, Interval, Requirement
from training.core.grade import GRADES, POOR, SCALES, grade
from training.core.pipeline import Judgement
from training.core.verdict import deciding_metric, explained

if TYPE_CHECKING:
    from collections.abc import Sequence

PASSED = Comparison("recency", "auc", Interval(0.1, 0.05, 0.15))
FAILED = Comparison("recency", "auc", Interval(0.1, -0.02, 0.2), margin=0.01)
TOO_LOW = Requirement("coverage", 0.5, low=0.75)


def judged(
    low: float, baselines: Sequence[Comparison] = (PASSED,), requirements: Sequence[Requirement] = ()
) -> Judgement:
    strength = Interval(low + 0.01, low, low + 0.02)
    return Judgement(
        metrics={"brier": Interval(0.1, 0.1, 0.1), "auc": strength},
        others={},
        baselines=tuple(baselines),
        champion=None,
        illustrations=(),
        meanings={"auc": "AUC: how often", "coverage": "Coverage: how many"},
        requirements=tuple(requirements),
        grade=grade("auc", strength, baselines, requirements),
    )


def told(judgement: Judgement) -> str:
    return " ".join(" ".join(ET.fromstring(f"<div>{explained(judgement)}</div>").itertext()).split())


@given(st.floats(0.0, 0.98), st.sampled_from([PASSED, FAILED]))
def test_the_grade_that_is_shown_is_the_grade_that_is_explained(low: float, baseline: Comparison) -> None:
    judgement = judged(low, [baseline])
    page = ET.fromstring(f"<div>{explained(judgement)}</div>")
    assert [one.text for one in page.iter("li") if one.get("aria-current")] == [judgement.grade]
    assert [one.text for one in page.iter("li")][:4] == list(GRADES)
    assert told(judgement).count("gate failed") == (judgement.grade == POOR)


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (0.7499999, "AUC is 0.760, and the lower end of its interval, 0.7499, stays below the 0.75 of a good model."),
        (0.75, "0.7500, reaches the 0.75 of a good model; an excellent one needs 0.85."),
        (0.85, "0.8500, reaches the 0.85 of an excellent model; there is no higher grade."),
    ],
)
def test_a_figure_that_misses_by_a_hair_is_not_rounded_up_to_the_limit(low: float, words: str) -> None:
    assert words in told(judged(low))


def test_every_failed_gate_is_named_with_its_limit() -> None:
    words = told(judged(0.9, [PASSED, FAILED], [TOO_LOW]))
    assert "A gate failed, as told below. Without that it would be excellent" in words
    assert (
        "AUC against recency: the difference is 0.10 [-0.02, 0.20], and its whole interval must lie above -0.01."
        in (words)
    )
    assert "Coverage: the figure is 0.500, and must be at least 0.75." in words
    assert words.count("must lie above") == 1


def test_the_rule_stands_in_one_sentence_whatever_decides() -> None:
    for metric, scale in SCALES.items():
        strength = Interval(0.5, 0.4, 0.6)
        judgement = Judgement({metric: strength}, {}, (PASSED,), None, (), grade=grade(metric, strength, (PASSED,)))
        assert deciding_metric(judgement) == metric
        assert f"decides: good from {scale.good}, excellent from {scale.excellent}, fair below." in told(judgement)


def test_without_a_deciding_metric_nothing_is_said() -> None:
    assert explained(Judgement({}, {}, (), None, (), grade="good")) == ""
    assert deciding_metric(Judgement({"brier": Interval(0.1, 0.1, 0.1)}, {}, (), None, ())) is None
