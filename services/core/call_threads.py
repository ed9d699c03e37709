"""The threads that handle calls. Each knows when its call came, and so how long that waited to be handled."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class _Call(threading.local):
    arrived: float | None = None
    ahead: object = None


_call = _Call()


class CallThreads(ThreadPoolExecutor):
    """What gRPC hands a call to as soon as it has come."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        arrived = time.perf_counter()

        def handle() -> T:
            taken_up(arrived)
            return fn(*args, **kwargs)

        return super().submit(handle)


def taken_up(arrived: float, ahead: object = None) -> None:
    """This thread now handles a call that came then, for which so much was done ahead."""
    _call.arrived, _call.ahead = arrived, ahead


def arrival() -> float | None:
    """When this thread's call came, by `time.perf_counter`; None in threads that handle none."""
    return _call.arrived


def done_ahead() -> Any:  # noqa: ANN401 - whatever the method does for several calls together
    """What was done for this thread's call before its turn; None where nothing was."""
    return _call.ahead
