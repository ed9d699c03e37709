"""Admission: how many calls of a lane may be in flight. Health checks stand in no lane."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.core.errors import DRAINING, SATURATED, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.core.metrics import LaneMetrics


class Gate:
    """Closed once, when the server drains: calls that come later are refused, those inside finish."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()


class Lane:
    """A bounded number of calls in flight: one lane for interactive calls, one for bulk streams."""

    def __init__(self, limit: int, gate: Gate, metrics: LaneMetrics) -> None:
        self._places = threading.BoundedSemaphore(limit)
        self._gate = gate
        self._metrics = metrics

    def check_open(self) -> None:
        """Raises Refusal, DRAINING, after the gate was closed."""
        if self._gate.closed:
            raise Refusal(DRAINING)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Holds a place for the length of a call.

        Raises:
            Refusal: DRAINING after the gate was closed, SATURATED when every place is taken.
        """
        self.check_open()
        if not self._places.acquire(blocking=False):
            self._metrics.rejected.inc()
            raise Refusal(SATURATED)
        self._metrics.in_flight.inc()
        try:
            yield
        finally:
            self._metrics.in_flight.dec()
            self._places.release()
