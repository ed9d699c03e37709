from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers import open_loop
from benchmarks.peers.open_loop import GrpcCaller, Tally, at_times, percentile, schedule
from benchmarks.peers.peer import Question
from tests.trials.http2 import Answer, framed
from tests.trials.load import PUSHBACK

if TYPE_CHECKING:
    from collections.abc import Iterable


def run(answers: Iterable[float | None], due: list[float]) -> Tally:
    """Calls that take so many seconds in turn; None fails, and infinity is never answered."""
    turn = iter(answers)

    async def call() -> bool:
        seconds = next(turn)
        if seconds is None:
            return False
        await asyncio.sleep(min(seconds, 3600.0))
        return True

    return asyncio.run(at_times(call, np.array(due)))


def test_a_schedule_is_the_same_for_everybody_and_has_its_rate() -> None:
    due = schedule(1000.0, 20.0, seed=3)
    assert due.tolist() == schedule(1000.0, 20.0, seed=3).tolist()
    assert len(due) == 20_000
    assert 19.0 < due[-1] < 21.0
    assert (np.diff(due) >= 0).all()
    # Callers know nothing of each other: the gaps spread as much as they are long.
    assert 0.9 < np.diff(due).std() / np.diff(due).mean() < 1.1


def test_time_counts_from_when_a_call_was_due() -> None:
    async def call() -> bool:
        # One that holds this process up: the next, due at once, is sent after it.
        time.sleep(0.05)  # noqa: ASYNC251 - that is the point
        return True

    tally = asyncio.run(at_times(call, np.array([0.0, 0.001])))
    assert min(tally.milliseconds) >= 50
    assert max(tally.milliseconds) >= 98
    assert max(tally.late) >= 48


def test_calls_do_not_wait_for_each_other() -> None:
    tally = run([0.2, 0.0], [0.0, 0.001])
    assert min(tally.milliseconds) < 200 <= max(tally.milliseconds)


def test_refused_and_unanswered_calls_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "PATIENCE_SECONDS", 0.05)
    tally = run([None, math.inf, 0.0], [0.0, 0.001, 0.002])
    assert tally.failed == 2
    assert len(tally.milliseconds) == 1
    assert tally.p(99) == math.inf


class RefusingPool:
    """Refuses so often, then answers."""

    def __init__(self, refusals: int) -> None:
        self.left = refusals

    async def call(self, path: str, message: bytes) -> Answer:
        self.left -= 1
        code = grpc.StatusCode.RESOURCE_EXHAUSTED if self.left >= 0 else grpc.StatusCode.OK
        return Answer(code, "", {PUSHBACK: b"1"}, framed(b"score"), 0.0)


@pytest.mark.parametrize(("refusals", "answered", "again"), [(0, True, 0), (2, True, 2), (5, False, 4)])
def test_a_refused_call_is_made_again_as_often_as_our_client_does(refusals: int, answered: bool, again: int) -> None:
    caller = GrpcCaller(0, Question("/path", b""))
    caller._pool = RefusingPool(refusals)  # type: ignore[assignment]
    assert asyncio.run(caller.call()) is answered
    assert caller.refused == again


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(0, 20), st.floats(0, 100))
def test_a_failed_call_is_slower_than_all_others(milliseconds: list[float], failed: int, share: float) -> None:
    found = percentile(milliseconds, failed, share)
    assert found >= percentile(milliseconds, 0, share)
    assert found in {*milliseconds, math.inf}


def test_nothing_measured_is_no_figure() -> None:
    assert math.isnan(percentile([], 0, 99))
