"""Admission: how many calls of a lane may be in flight. Health checks stand in no lane.

A call is admitted or refused in gRPC's own thread, at once when it comes: before it waits for a thread, and before its
message is read. Decided any later, a crowd of callers would wait unseen in front of the handlers, and be served one
after the other, each of them late.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from services.core.call_threads import CallThreads
from services.core.errors import DRAINING, SATURATED, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.core.metrics import LaneMetrics

P = ParamSpec("P")
T = TypeVar("T")

COMING_BACK = 500
"""A second, of those who were refused. Refusing one takes about a tenth of a millisecond."""

SOONEST_SECONDS, LATEST_SECONDS = 0.1, 5.0
"""When they come back."""


class Gate:
    """Closed once, when the server drains: calls that come later are refused, those inside finish."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._sleepers: set[Callable[[], None]] = set()

    def close(self) -> None:
        with self._lock:
            self._closed.set()
            for wake in self._sleepers:
                wake()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Calls `wake` when the gate closes; who sleeps looks first whether it has."""
        with self._lock:
            self._sleepers.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._sleepers.discard(wake)


class Place:
    """One call's place in a lane, until it is left for the first time."""

    def __init__(self, free: SimpleQueue[None], metrics: LaneMetrics) -> None:
        self._free = free
        self._metrics = metrics
        self._held = True
        metrics.in_flight.inc()

    def __enter__(self) -> None:
        """For the work on the call. Leaving the place later, when gRPC has answered, would refuse the next call."""

    def __exit__(self, *_error: object) -> None:
        self.leave()

    def leave(self) -> None:
        if self._held:
            self._held = False
            self._metrics.in_flight.dec()
            self._free.put(None)


class Appointments:
    """When those who are refused may come back: one after the other, lest refusing them takes the server's time.

    For a crowd of any size, as many a second come back as the server can refuse beside its work.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._clock = clock
        self._latest = 0.0

    def next(self) -> float:
        """Seconds from now."""
        now = self._clock()
        self._latest = min(max(self._latest + 1 / COMING_BACK, now + SOONEST_SECONDS), now + LATEST_SECONDS)
        return self._latest - now


class _Call(threading.local):
    admission: Place | Refusal | None = None
    """Of the call that this thread handles: its place, or why it has none."""


_call = _Call()


def admitted() -> Place:
    """The place of the call that this thread handles.

    Raises:
        Refusal: DRAINING after the gate was closed, SATURATED when every place was taken.
    """
    if isinstance(_call.admission, Refusal):
        raise _call.admission
    if _call.admission is None:
        raise RuntimeError("no lane has let this call in")
    return _call.admission


class Lane(CallThreads):
    """Threads for one kind of call, and a bounded number of places: for those that run and those that wait for one.

    gRPC hands a call over by `submit`, in its own thread. Whoever finds no place is answered in that very thread: a
    refusal that had to wait for another thread would wait behind those whom it should protect.
    """

    def __init__(self, places: int, threads: int, gate: Gate, metrics: LaneMetrics, niceness: int = 0) -> None:
        super().__init__(min(places, threads), metrics.lane, niceness)
        self.gate = gate
        self.name = metrics.lane
        self._size = places
        # A semaphore that is written in C: the interpreter's own costs a call some per cent.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(places):
            self._free.put(None)
        self._appointments = Appointments()
        self._metrics = metrics

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        admission = self.admit()
        if isinstance(admission, Refusal):
            answered: Future[T] = Future()
            answered.set_result(handle_admitted(admission, fn, *args, **kwargs))
            return answered
        try:
            return super().submit(handle_admitted, admission, fn, *args, **kwargs)
        except BaseException:
            admission.leave()
            raise

    def work(self, work: Callable[[], None]) -> None:
        """Does work on a call that was admitted before, in a thread."""
        super().submit(work)

    def is_left_within(self, seconds: float) -> bool:
        """Whether everybody inside leaves in time. Afterwards nobody is let in any more."""
        deadline = time.monotonic() + seconds
        try:
            for _ in range(self._size):
                self._free.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            return False
        return True

    def admit(self) -> Place | Refusal:
        """A place, or why there is none."""
        if self.gate.closed:
            return Refusal(DRAINING)
        try:
            self._free.get_nowait()
        except Empty:
            self._metrics.rejected.inc()
            return Refusal(SATURATED, retry_after=self._appointments.next())
        return Place(self._free, self._metrics)


def handle_admitted(admission: Place | Refusal, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    _call.admission = admission
    try:
        return fn(*args, **kwargs)
    finally:
        _call.admission = None
        if isinstance(admission, Place):
            # Where gRPC gave the call up before it was handled.
            admission.leave()
