"""What a training says, and what a scheduler hears of it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from cli import train as command
from features.errors import TableError, TooLittleError
from model_registry.bundle import TrainingWindow
from model_registry.evidence import Comparison, Evidence, Interval, Parity, Requirement
from model_registry.registry import RegisteredVersion, RegistryError
from training.core.errors import NotEligibleError, TrainingError
from training.core.job import TrainingResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AUC = Interval(0.87, 0.85, 0.89)
RESULT = TrainingResult(
    version=RegisteredVersion("churn", "7", "run", "digest", datetime.now(UTC)),
    metrics={"auc": AUC, "auc[tea]": AUC},
    others={"recency": {"auc": Interval(0.8, 0.78, 0.82)}},
    evidence=Evidence(
        parity=Parity({"holdout": 1e-7}, 10, 1e-5),
        metrics={"auc": AUC},
        baselines=(Comparison("recency", "auc", Interval(0.07, 0.05, 0.09)),),
        champion=None,
        champion_version="",
        bundle_digest="digest",
        requirements=(
            Requirement("coverage", 0.81, 0.7, 0.9),
            Requirement("auc[tea]", 0.5, low=0.6),
            Requirement("error", 0.2, high=0.3),
        ),
        grade="good",
    ),
    window=TrainingWindow("2024-01-01", "2024-03-01", "2024-04-01"),
    horizon_days=30,
    training_rows=12345,
    test_rows=678,
    parameters={},
    seconds={},
    warnings=("purchased[tea] is rare.",),
)

ELIGIBLE_LATER = NotEligibleError("the training part holds 41 customers, and needs 500")
NO_GAPS = TooLittleError("tables.transactions", "has no customer with two orders", "Set propensity.horizon_days")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """The exit status of `regulars train`, where each model comes out as told: an error, or else a version."""
    project = tmp_path / "regulars.toml"
    project.write_text(
        '[project]\nname = "shop"\n[tables.customers]\nsource = "c.csv"\ncustomer = "id"\nchurned = "left"\n'
    )

    def run(model: str = "all", /, **errors: Exception) -> int:
        def train_or_fail(name: str, *_: object) -> TrainingResult:
            if name in errors:
                raise errors[name]
            return RESULT

        monkeypatch.setattr(command, "_train", train_or_fail)
        return command.train(Namespace(project=project, model=model, as_of=None))

    return run


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ({}, 0),
        ({"cltv": ELIGIBLE_LATER, "propensity": NO_GAPS}, 0),
        (dict.fromkeys(("churn", "propensity", "cltv", "clustering"), ELIGIBLE_LATER), 1),
        ({"cltv": TrainingError("the margins do not rank")}, 1),
        ({"cltv": ELIGIBLE_LATER, "clustering": TableError("tables", "cannot be read", "Correct it")}, 1),
        ({"churn": RegistryError("the registry does not answer")}, 1),
    ],
)
def test_only_a_lack_of_data_is_no_failure(
    trained: Callable[..., int], errors: dict[str, Exception], status: int
) -> None:
    assert trained(**errors) == status


def test_all_ends_with_a_table_of_what_came_of_each(
    trained: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    trained(propensity=NO_GAPS, cltv=ELIGIBLE_LATER, clustering=TrainingError("no cluster [stands] out"))
    told = capsys.readouterr()
    lines = [" ".join(line.split()) for line in told.out.splitlines()]
    assert "churn version 7 good" in lines
    assert "cltv not eligible: the training part holds 41 customers, and needs 500" in lines
    assert any(
        line.startswith("propensity not eligible: tables.transactions has no customer with two") for line in lines
    )
    assert "clustering failed: no cluster [stands] out" in lines
    assert "clustering was not trained: no cluster [stands] out" in told.err
    assert "not trained" not in told.err.replace("clustering was not trained", "")


def test_one_model_alone_raises_its_reason(trained: Callable[..., int]) -> None:
    with pytest.raises(NotEligibleError, match="needs 500"):
        trained("cltv", cltv=ELIGIBLE_LATER)
    assert trained("churn", cltv=ELIGIBLE_LATER) == 0


def test_a_bug_is_not_taken_for_an_answer(trained: Callable[..., int]) -> None:
    with pytest.raises(ZeroDivisionError):
        trained(cltv=ZeroDivisionError())


def test_the_report_tells_figures_requirements_and_grade(capsys: pytest.CaptureFixture[str]) -> None:
    command._report("churn", RESULT)
    told = capsys.readouterr()
    for line in (
        f"churn version 7 is the candidate: {command._parts(RESULT)}",
        "auc above recency: 0.0700 [0.0500, 0.0900]",
        "coverage 0.8100, needed at least 0.7 and at most 0.9: met",
        "auc[tea] 0.5000, needed at least 0.6: not met",
        "error 0.2000, needed at most 0.3: met",
        "grade: good",
        "next: regulars promote churn --dry-run",
    ):
        assert line in told.out.splitlines()
    assert "auc[tea] 0.8700 [0.8500, 0.8900]" in [" ".join(line.split()) for line in told.out.splitlines()]
    assert "warning: purchased[tea] is rare." in told.err
    assert "report: model_card.html of run run" in told.err


@pytest.mark.parametrize(
    ("window", "horizon_days", "told"),
    [
        (TrainingWindow(), 0, "trained on 12,345 customers, tested on 678 others; there is no time axis"),
        (
            TrainingWindow("2024-04-01", "2024-04-01", "2024-04-01"),
            60,
            "trained on 12,345 customers of 2024-04-01, tested on 678 others, horizon 60 days",
        ),
        (
            TrainingWindow("2024-01-01", "2024-03-01", "2024-04-01"),
            0,
            "trained on 12,345 rows of snapshots 2024-01-01 to 2024-03-01, tested on 678 of 2024-04-01",
        ),
    ],
)
def test_the_report_says_what_tested(window: TrainingWindow, horizon_days: int, told: str) -> None:
    assert command._parts(replace(RESULT, window=window, horizon_days=horizon_days)) == told
