"""The threads that handle calls. Each knows when its call came, and so how long that waited to be handled."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class _Call(threading.local):
    arrived: float | None = None


_call = _Call()


class CallThreads(ThreadPoolExecutor):
    """What gRPC hands a call to as soon as it has come."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        arrived = time.perf_counter()

        def handle() -> T:
            arrived_at(arrived)
            return fn(*args, **kwargs)

        return super().submit(handle)


def arrived_at(seconds: float) -> None:
    """This thread now handles a call that came then."""
    _call.arrived = seconds


def arrival() -> float | None:
    """When this thread's call came, by `time.perf_counter`; None in threads that handle none."""
    return _call.arrived
