from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import EXPIRED, Refusal
from services.core.pace import MEASURED_ROWS, Pace

if TYPE_CHECKING:
    import grpc


class FakeContext:
    """A caller who waits for so many seconds more, None for one without a deadline."""

    def __init__(self, remaining: float | None) -> None:
        self._remaining = remaining

    def time_remaining(self) -> float | None:
        return self._remaining


def with_deadline(remaining: float | None) -> grpc.ServicerContext:
    return cast("grpc.ServicerContext", FakeContext(remaining))


def refused(pace: Pace, rows: int, remaining: float | None) -> bool:
    try:
        pace.check(rows, with_deadline(remaining))
    except Refusal as refusal:
        return refusal.kind is EXPIRED
    return False


def paced(seconds_a_row: float) -> Pace:
    pace = Pace()
    pace.observe(1000, 1000 * seconds_a_row)
    return pace


def test_before_anything_was_measured_nothing_is_refused() -> None:
    assert not refused(Pace(), 10_000, 0.0)


def test_what_cannot_end_in_time_is_refused_and_what_can_is_not() -> None:
    for rows, remaining, expected in ((1000, 0.9, True), (1000, 1.1, False), (10_000, 1.1, True), (10, 0.02, False)):
        assert refused(paced(0.001), rows, remaining) == expected


@pytest.mark.parametrize("remaining", [None, float("inf")])
def test_who_has_no_deadline_is_never_refused(remaining: float | None) -> None:
    assert not refused(paced(1.0), 10_000, remaining)


def test_small_slices_tell_nothing() -> None:
    pace = paced(0.001)
    for _ in range(100):
        pace.observe(MEASURED_ROWS - 1, 1000.0)
    assert not refused(pace, 1000, 1.1)


def test_the_average_follows_the_slices() -> None:
    pace = paced(0.001)
    for _ in range(50):
        pace.observe(1000, 10.0)
    assert refused(pace, 1000, 9.0)
    for _ in range(50):
        pace.observe(1000, 0.1)
    assert not refused(pace, 1000, 0.2)


@given(slow=st.floats(0.01, 1e6), remaining=st.floats(0.001, 10.0))
def test_one_bad_moment_does_not_refuse_for_ever(slow: float, remaining: float) -> None:
    pace = paced(slow)
    assert any(not refused(pace, 1000, remaining) for _ in range(400))
