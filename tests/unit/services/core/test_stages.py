from __future__ import annotations

import itertools
import threading
import time

import pytest

from services.core.call_threads import CallThreads, arrival
from services.core.metrics import STAGES
from services.core.stages import StageMetrics
from tests.support.metrics import page, series

SERVICE = "regulars.test.v1.Staged"
_methods = itertools.count()


class Staged:
    """A method of its own, and how often each of its stages was timed."""

    def __init__(self, every: int = 1) -> None:
        self._method = f"Method{next(_methods)}"
        self.stages = StageMetrics(SERVICE, self._method, every)

    def call(self) -> None:
        stages = self.stages.of_call()
        stages.start()
        for stage in (stages.decode, stages.run, stages.encode):
            with stage():
                pass

    @property
    def counts(self) -> dict[str, float]:
        return self._by_stage("regulars_stage_seconds_count")

    @property
    def sums(self) -> dict[str, float]:
        return self._by_stage("regulars_stage_seconds_sum")

    def _by_stage(self, name: str) -> dict[str, float]:
        shown = page(grpc_service=SERVICE, grpc_method=self._method)
        return {stage: shown[series(name, stage=stage)] for stage in STAGES}


def test_every_stage_of_a_call_is_timed_once() -> None:
    staged = Staged()
    with CallThreads(1) as threads:
        for _ in range(3):
            threads.submit(staged.call).result()
    assert staged.counts == {"queue": 3, "decode": 3, "run": 3, "encode": 3}


@pytest.mark.parametrize(("calls", "timed"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_of_many_calls_one_in_eight_is_timed_beginning_with_the_first(calls: int, timed: int) -> None:
    staged = Staged(every=8)
    with CallThreads(3) as threads:
        for call in [threads.submit(staged.call) for _ in range(calls)]:
            call.result()
    assert set(staged.counts.values()) == {timed}


def test_a_stage_that_fails_is_timed_and_its_error_passes() -> None:
    staged = Staged()
    with pytest.raises(ValueError, match="of the stage"), staged.stages.of_call().run():
        raise ValueError("of the stage")
    assert staged.counts == {"queue": 0, "decode": 0, "run": 1, "encode": 0}


def test_the_queue_is_what_lies_between_a_call_s_arrival_and_its_start() -> None:
    staged, let_go = Staged(), threading.Event()
    with CallThreads(1) as threads:
        threads.submit(let_go.wait)
        waiting = threads.submit(staged.call)
        came = time.perf_counter()
        time.sleep(0.01)
        begins = time.perf_counter()
        let_go.set()
        waiting.result()
    assert staged.sums["queue"] >= begins - came


def test_outside_a_call_nothing_has_arrived_and_nothing_waited() -> None:
    assert arrival() is None
    staged = Staged()
    staged.call()
    assert staged.counts == {"queue": 0, "decode": 1, "run": 1, "encode": 1}
