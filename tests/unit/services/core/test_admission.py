from __future__ import annotations

import os
import sys
import threading
from bisect import insort
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.core.admission import (
    COMING_BACK,
    LATEST_SECONDS,
    SOONEST_SECONDS,
    Appointments,
    Gate,
    Lane,
    admitted,
)
from services.core.errors import DRAINING, SATURATED, Kind, Refusal
from services.core.metrics import LaneMetrics
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future


class Counters:
    """What a lane has counted since the test began."""

    def __init__(self, lane: str) -> None:
        self._lane = lane
        self._before = self._read("regulars_calls_rejected_total")

    def _read(self, name: str) -> float:
        return REGISTRY.get_sample_value(name, {"lane": self._lane}) or 0.0

    @property
    def rejected(self) -> float:
        return self._read("regulars_calls_rejected_total") - self._before

    @property
    def in_flight(self) -> float:
        return self._read("regulars_calls_in_flight")


class Calls:
    """Calls of a lane as gRPC would hand them over; those that are admitted stay until they are let go."""

    def __init__(self, places: int, threads: int, gate: Gate | None = None) -> None:
        self.counters = Counters("test")
        self.gate = gate or Gate()
        self.lane = Lane(places, threads, self.gate, LaneMetrics("test"))
        self.handled_in: list[str] = []
        self._let_go = threading.Semaphore(0)

    def come(self) -> Future[Kind | None]:
        """The result is why the call was refused, None if it was admitted."""
        return self.lane.submit(self._handle)

    def let_go(self, calls: int = 1) -> None:
        self._let_go.release(calls)

    def close(self) -> None:
        self._let_go.release(1000)
        self.lane.shutdown()

    def _handle(self) -> Kind | None:
        self.handled_in.append(threading.current_thread().name)
        try:
            with admitted():
                assert self._let_go.acquire(timeout=PATIENCE_SECONDS)
        except Refusal as refusal:
            return refusal.kind
        return None


@pytest.fixture
def calls_of() -> Iterator[Callable[..., Calls]]:
    made: list[Calls] = []

    def make(places: int, threads: int = 1, gate: Gate | None = None) -> Calls:
        made.append(Calls(places, threads, gate))
        return made[-1]

    yield make
    for calls in made:
        calls.close()


def refused_as(call: Future[Kind | None]) -> Kind | None:
    """Why a call was refused; it must have been answered already."""
    assert call.done()
    return call.result()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_lane_admits_as_many_as_it_has_places_running_or_waiting(
    calls_of: Callable[..., Calls], threads: int
) -> None:
    calls = calls_of(2, threads)
    inside = [calls.come(), calls.come()]
    assert calls.counters.in_flight == 2
    assert [refused_as(calls.come()) for _ in range(3)] == [SATURATED] * 3
    assert calls.counters.rejected == 3
    calls.let_go(1)
    eventually(lambda: any(call.done() for call in inside), "the first to end")
    eventually(lambda: calls.counters.in_flight == 1, "its place")
    third = calls.come()
    assert refused_as(calls.come()) is SATURATED
    calls.let_go(2)
    assert [call.result(PATIENCE_SECONDS) for call in [*inside, third]] == [None] * 3
    eventually(lambda: calls.counters.in_flight == 0, "all places")


def test_whoever_is_refused_is_answered_in_the_thread_that_brings_him(calls_of: Callable[..., Calls]) -> None:
    calls = calls_of(1)
    calls.come()
    eventually(lambda: len(calls.handled_in) == 1, "the first call")
    calls.come()
    assert calls.handled_in[0] != threading.current_thread().name
    assert calls.handled_in[1] == threading.current_thread().name


def test_the_thread_that_refused_one_call_may_have_the_next_admitted(calls_of: Callable[..., Calls]) -> None:
    full, other = calls_of(1), calls_of(1)
    full.come()
    assert refused_as(full.come()) is SATURATED
    call = other.come()
    other.let_go()
    assert call.result(PATIENCE_SECONDS) is None


def test_what_no_lane_has_let_in_is_not_handled() -> None:
    with pytest.raises(RuntimeError, match="no lane"):
        admitted()


def test_a_place_is_free_as_soon_as_it_is_left_and_counts_once() -> None:
    lane, counters = Lane(1, 2, Gate(), LaneMetrics("test")), Counters("test")
    left, end = threading.Event(), threading.Event()

    def handle() -> bool:
        with admitted():
            pass
        left.set()
        return end.wait(PATIENCE_SECONDS)

    answering = lane.submit(handle)
    assert left.wait(PATIENCE_SECONDS)
    assert counters.in_flight == 0
    next_call = lane.submit(handle)
    end.set()
    assert (answering.result(PATIENCE_SECONDS), next_call.result(PATIENCE_SECONDS)) == (True, True)
    assert counters.in_flight == 0
    lane.shutdown()


class CallEndedError(BaseException):
    """As severe as they come."""


def test_a_call_that_fails_gives_its_place_back() -> None:
    lane, counters = Lane(1, 1, Gate(), LaneMetrics("test")), Counters("test")

    def fail() -> None:
        raise CallEndedError

    for _ in range(3):
        with pytest.raises(CallEndedError):
            lane.submit(fail).result(PATIENCE_SECONDS)
        eventually(lambda: counters.in_flight == 0, "its place")
    assert counters.rejected == 0
    lane.shutdown()


def test_a_call_that_no_thread_takes_gives_its_place_back() -> None:
    lane, counters = Lane(1, 1, Gate(), LaneMetrics("test")), Counters("test")
    lane.shutdown()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="shutdown"):
            lane.submit(int)
    assert (counters.in_flight, counters.rejected) == (0, 0)


def test_a_closed_gate_refuses_new_calls_and_lets_the_others_finish(calls_of: Callable[..., Calls]) -> None:
    calls = calls_of(3, threads=1)
    running, waiting = calls.come(), calls.come()
    calls.gate.close()
    assert refused_as(calls.come()) is DRAINING
    calls.let_go(2)
    assert [call.result(PATIENCE_SECONDS) for call in (running, waiting)] == [None, None]
    assert refused_as(calls.come()) is DRAINING
    # A drain is no overload.
    assert calls.counters.rejected == 0


def test_one_gate_closes_every_lane_and_one_full_lane_leaves_the_other_open(calls_of: Callable[..., Calls]) -> None:
    gate = Gate()
    interactive, bulk = calls_of(1, gate=gate), calls_of(1, gate=gate)
    bulk.come()
    assert refused_as(bulk.come()) is SATURATED
    assert not interactive.come().done()
    gate.close()
    assert refused_as(interactive.come()) is DRAINING
    assert refused_as(bulk.come()) is DRAINING


def test_a_gate_that_closes_wakes_whoever_sleeps_and_nobody_who_has_risen() -> None:
    gate = Gate()
    woken: list[str] = []
    with gate.waking(lambda: woken.append("asleep")):
        with gate.waking(lambda: woken.append("risen")):
            pass
        gate.close()
        assert woken == ["asleep"]
    assert gate.closed


@given(places=st.integers(1, 5), threads=st.integers(1, 5), crowd=st.integers(1, 12))
def test_of_any_crowd_as_many_are_admitted_as_there_are_places(places: int, threads: int, crowd: int) -> None:
    calls = Calls(places, threads)
    came = [calls.come() for _ in range(crowd)]
    calls.let_go(crowd)
    inside = min(places, crowd)
    kinds = [call.result(PATIENCE_SECONDS) for call in came]
    assert kinds == [None] * inside + [SATURATED] * (crowd - inside)
    calls.close()
    assert calls.counters.in_flight == 0


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(crowd=st.integers(1, 10 * COMING_BACK))
def test_those_who_are_refused_come_back_one_after_the_other(crowd: int) -> None:
    appointments = Appointments(FakeClock())
    waits = [appointments.next() for _ in range(crowd)]
    assert waits[0] == pytest.approx(SOONEST_SECONDS)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(min(SOONEST_SECONDS + (crowd - 1) / COMING_BACK, LATEST_SECONDS))


def test_once_the_crowd_is_gone_nobody_waits_longer_than_before_it_came() -> None:
    clock = FakeClock()
    appointments = Appointments(clock)
    for _ in range(100_000):
        appointments.next()
    clock.now += LATEST_SECONDS
    assert appointments.next() == pytest.approx(SOONEST_SECONDS)


@given(st.integers(1, 20))
def test_a_crowd_that_keeps_its_appointments_comes_back_no_faster_than_it_can_be_refused(thousands: int) -> None:
    clock, crowd = FakeClock(), thousands * 100
    appointments = Appointments(clock)
    due = sorted(clock.now + appointments.next() for _ in range(crowd))
    came = []
    for _ in range(3 * crowd):
        clock.now = due.pop(0)
        came.append(clock.now)
        insort(due, clock.now + appointments.next())
    seconds = came[-1] - came[0]
    assert len(came) / seconds <= COMING_BACK * 1.1 or crowd <= COMING_BACK * SOONEST_SECONDS


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_threads_of_a_lane_are_as_nice_as_they_are_told() -> None:
    lane = Lane(1, 1, Gate(), LaneMetrics("test"), niceness=7)
    nice = lane.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert nice.result(PATIENCE_SECONDS) == 7
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == 0
    lane.shutdown()
