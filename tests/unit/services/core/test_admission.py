from __future__ import annotations

from contextlib import ExitStack

import pytest
from prometheus_client import REGISTRY

from services.core.admission import Gate, Lane
from services.core.errors import DRAINING, SATURATED, Kind, Refusal
from services.core.metrics import LaneMetrics


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


def lane_of(limit: int, gate: Gate | None = None) -> tuple[Lane, Counters]:
    return Lane(limit, gate or Gate(), LaneMetrics("test")), Counters("test")


def assert_refused(lane: Lane, kind: Kind) -> None:
    with pytest.raises(Refusal) as refused, lane.admit():
        pytest.fail("was admitted")
    assert refused.value.kind is kind


def test_a_lane_admits_as_many_as_its_limit_and_one_more_for_each_that_ends() -> None:
    lane, counters = lane_of(2)
    with ExitStack() as calls:
        calls.enter_context(lane.admit())
        with lane.admit():
            assert counters.in_flight == 2
            assert_refused(lane, SATURATED)
            assert counters.rejected == 1
        with lane.admit():
            assert_refused(lane, SATURATED)
    assert counters.in_flight == 0
    assert counters.rejected == 2


def test_a_call_that_fails_gives_its_place_back() -> None:
    lane, counters = lane_of(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="of the call"), lane.admit():
            raise ValueError("of the call")
    assert counters.in_flight == 0
    assert counters.rejected == 0


def test_a_closed_gate_refuses_new_calls_and_lets_the_others_finish() -> None:
    gate = Gate()
    lane, counters = lane_of(2, gate)
    with lane.admit():
        gate.close()
        assert_refused(lane, DRAINING)
        assert counters.in_flight == 1
    assert counters.in_flight == 0
    assert_refused(lane, DRAINING)
    # A drain is no overload.
    assert counters.rejected == 0


def test_one_gate_closes_every_lane_and_one_full_lane_leaves_the_other_open() -> None:
    gate = Gate()
    interactive, bulk = lane_of(1, gate)[0], lane_of(1, gate)[0]
    with bulk.admit(), interactive.admit():
        assert_refused(bulk, SATURATED)
    gate.close()
    assert_refused(interactive, DRAINING)
    assert_refused(bulk, DRAINING)
