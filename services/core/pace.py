"""How long scoring takes, so that work which cannot end before its deadline is not begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.core.errors import EXPIRED, Refusal

if TYPE_CHECKING:
    import grpc

MEASURED_ROWS = 100
"""A slice of fewer rows tells more of what surrounds a row than of the row."""

_WEIGHT = 1 / 8
"""Of a new slice in the average."""

_DOUBT = 0.9
"""What a refusal leaves of the average: one bad second must not refuse for ever, with nothing begun to correct it."""


class Pace:
    """Seconds a row, a moving average over the slices of one served version; 0 until the first.

    Several threads may use it: an observation that another overwrites is missed by nobody.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """A slice of so many rows took so long, the wait for its turn included."""
        if rows < MEASURED_ROWS:
            return
        measured = seconds / rows
        self._seconds += (measured - self._seconds) * _WEIGHT if self._seconds else measured

    def check(self, rows: int, context: grpc.ServicerContext) -> None:
        """Raises Refusal, EXPIRED, where so many rows would outlast the caller's deadline."""
        remaining = context.time_remaining()
        if remaining is not None and remaining < rows * self._seconds:
            self._seconds *= _DOUBT
            raise Refusal(EXPIRED)
