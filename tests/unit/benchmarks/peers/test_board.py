from __future__ import annotations

from math import inf

import pytest

from benchmarks.peers.board import Board, Workload

RATE = Workload("one customer", "calls/s", more_is_better=True, why="threads")
TIME = Workload("one customer: p50", "ms", more_is_better=False)
OWN = Workload("its own rate", "calls/s", more_is_better=True, compared=False)


def board(workload: Workload, **figures: list[float]) -> Board:
    made = Board(("Triton", "MLServer"))
    for system, values in figures.items():
        for value in values:
            made.add(workload, system, value)
    return made


def test_a_rate_stands_against_the_highest_of_the_peers() -> None:
    standing = board(RATE, Regulars=[90, 100, 400], Triton=[200], MLServer=[50], floor=[900]).standing(RATE)
    assert standing is not None
    assert (standing.best, standing.times) == ("Triton", 0.5)


def test_a_time_stands_against_the_shortest() -> None:
    standing = board(TIME, Regulars=[2.0], Triton=[5.0], MLServer=[3.0]).standing(TIME)
    assert standing is not None
    assert (standing.best, standing.times) == ("MLServer", 1.5)


def test_what_differs_by_less_than_rounds_do_is_no_loss() -> None:
    made = board(RATE, Regulars=[99], Triton=[100])
    assert not made.losses()
    assert made.table([RATE], []).endswith("| 0.99 (Triton) |")


def test_only_what_is_lost_is_told_as_a_loss() -> None:
    made = board(RATE, Regulars=[100], Triton=[200])
    made.add(TIME, "Regulars", 1.0)
    made.add(TIME, "Triton", 2.0)
    assert [loss.workload for loss in made.losses()] == [RATE]


@pytest.mark.parametrize(
    ("ours", "theirs", "shown"), [(inf, 5.0, "**0.00 (Triton)**"), (5.0, inf, "they never"), (inf, inf, "")]
)
def test_where_calls_failed_there_is_no_time(ours: float, theirs: float, shown: str) -> None:
    made = board(TIME, Regulars=[ours], Triton=[theirs])
    assert made.table([TIME], []).splitlines()[-1].split(" | ")[-1] == f"{shown} |"
    assert [loss.loss for loss in made.losses()] == (["one customer: p50 (Triton answers)"] if theirs < ours else [])


@pytest.mark.parametrize("figures", [{"Regulars": [1.0]}, {"Triton": [1.0]}])
def test_without_both_there_is_no_standing(figures: dict[str, list[float]]) -> None:
    assert board(RATE, **figures).standing(RATE) is None


def test_figures_of_different_loads_are_not_compared() -> None:
    assert board(OWN, Regulars=[1.0], Triton=[2.0]).standing(OWN) is None


def test_a_cell_is_the_median_with_its_spread_or_a_word() -> None:
    made = board(RATE, Regulars=[1000.0, 1100.0, 1500.0], Triton=[2200.0])
    made.say(RATE, "MLServer", "beyond its 900/s")
    assert made.table([RATE], ["Regulars", "Triton", "MLServer", "floor"]).splitlines()[-1] == (
        "| one customer | calls/s | 1,100 (1,000 to 1,500) | 2,200 | beyond its 900/s |  | **0.50 (Triton)** |"
    )
