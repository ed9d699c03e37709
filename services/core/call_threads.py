"""What a thread knows of the call that it handles: when that came, and what was done for it ahead."""

from __future__ import annotations

import os
import sys
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

    def __init__(self, threads: int, name: str = "", niceness: int = 0) -> None:
        """Of two threads that want a core, the less nice has it sooner."""
        super().__init__(threads, thread_name_prefix=name, initializer=_be_nice, initargs=(niceness,))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        arrived = time.perf_counter()

        def handle() -> T:
            with taken_up(arrived):
                return fn(*args, **kwargs)

        return super().submit(handle)


def _be_nice(niceness: int) -> None:
    # Elsewhere a thread has no priority of its own.
    if niceness and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


class taken_up:  # noqa: N801 - a context manager; as a generator it would cost a call some microseconds
    """This thread handles a call that came then, for which so much was done ahead."""

    __slots__ = ("_ahead", "_arrived")

    def __init__(self, arrived: float, ahead: object = None) -> None:
        self._arrived, self._ahead = arrived, ahead

    def __enter__(self) -> None:
        _call.arrived, _call.ahead = self._arrived, self._ahead

    def __exit__(self, *_error: object) -> None:
        _call.arrived = _call.ahead = None


def arrival() -> float | None:
    """When this thread's call came, by `time.perf_counter`; None where it handles none."""
    return _call.arrived


def done_ahead() -> Any:  # noqa: ANN401 - whatever the method does for several calls together
    """What was done for this thread's call before its turn; None where nothing was."""
    return _call.ahead
