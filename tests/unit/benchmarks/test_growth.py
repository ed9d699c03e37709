"""What breaks as a shop grows is a figure, and ends nothing but what needs it."""

from __future__ import annotations

import math
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.growth import STEPS, Cost, Step, costs_of, exponent, run, why_broken

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = (sys.executable, "-c")
DIES = "import os; os.kill(os.getpid(), 9)"


def test_a_step_that_is_killed_is_told_and_only_what_needs_it_is_left_out(tmp_path: Path) -> None:
    steps = (
        Step("learn", (DIES,)),
        Step("promote", ("pass",), ("learn",)),
        Step("release", ("pass",), ("promote",)),
        Step("look", ("pass",)),
    )
    costs = {step.name: cost for step, cost in costs_of(tmp_path, steps, PYTHON)}
    assert costs["learn"].broke.startswith("breaks: killed by SIGKILL, ")
    assert costs["promote"].note == "not run without learn"
    assert costs["release"].note == "not run without promote"
    assert math.isnan(costs["release"].seconds)
    assert costs["look"].broke == ""


def test_a_step_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    cost = run(tmp_path, Step("wait", ("import time; time.sleep(600)",)), PYTHON, longest=0.3)
    assert cost.note.startswith("breaks: not done after 0 s, at ")


@pytest.mark.parametrize(
    ("status", "said", "judges", "broke"),
    [
        (0, "done", False, ""),
        (1, "verdict: FAIL", True, ""),
        (3, "INSUFFICIENT", True, ""),
        (1, "verdict: FAIL", False, "exit status 1, verdict: FAIL"),
        (
            1,
            "reading\nregulars audit: tables cannot be read",
            True,
            "exit status 1, regulars audit: tables cannot be read",
        ),
        (1, "Traceback (most recent call last):\n  File\nMemoryError", True, "exit status 1, MemoryError"),
        (1, "", False, "exit status 1, without a word"),
        (-signal.SIGKILL, "", True, "killed by SIGKILL, which is what happens where memory ends"),
    ],
)
def test_a_verdict_is_no_failure(tmp_path: Path, status: int, said: str, judges: bool, broke: str) -> None:
    log = tmp_path / "log.txt"
    log.write_text(said)
    assert why_broken(status, log, Step("audit", (), judges=judges)) == broke


def test_what_a_step_needs_comes_before_it() -> None:
    names = [step.name for step in STEPS]
    for place, step in enumerate(STEPS):
        assert set(step.needs) <= set(names[:place])


def test_an_exponent_of_one_is_growth_with_the_customers() -> None:
    figure = exponent("scoring", [(10, Cost(1.0, 50.0)), (100, Cost(2.0, 100.0)), (1000, Cost(20.0, 100.0))])
    assert figure.value == pytest.approx(1.0)
    assert "of memory 0.00" in figure.note
