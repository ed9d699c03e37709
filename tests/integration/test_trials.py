"""The trials of reliability, each at a size that takes seconds: so that they run, and can fail.

What takes time is shown and not judged here; `./dev trial` judges it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from tests.trials.__main__ import TRIALS
from tests.trials.page import PAGE, refresh

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trials.harness import Trial


@pytest.mark.parametrize("name", TRIALS)
def test_a_quick_trial_reaches_every_bar_that_is_not_of_time(name: str, tmp_path: Path) -> None:
    trial: Trial = importlib.import_module(f"tests.trials.{name}")
    results = trial.run(trial.QUICK, tmp_path)
    assert [result for result in results if not (result.passed or result.timed)] == []


@pytest.mark.parametrize("name", TRIALS)
def test_the_page_has_a_place_for_its_figures(name: str) -> None:
    assert "the new figures" in refresh(PAGE.read_text(), name, "the new figures")
