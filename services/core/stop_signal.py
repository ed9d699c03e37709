"""SIGTERM and SIGINT as something to wait for."""

from __future__ import annotations

import queue
import signal

# A signal that lands between the entry into `get` and its blocking wakes nobody, though its number is in the queue.
# Looking again this often bounds what such a signal waits for.
LOOK_AGAIN_SECONDS = 0.5


class StopSignal:
    """Set by the first SIGTERM or SIGINT. To be made in the main thread, before there is anything to stop.

    A queue, because its `put` may interrupt its own `get`; the `set` of a `threading.Event` that interrupts its own
    `wait` at the wrong instruction waits for itself.
    """

    def __init__(self) -> None:
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: self._signals.put(received))

    def wait(self, seconds: float | None) -> bool:
        """Waits for the signal, at most `seconds`, without limit where None; whether it came."""
        if seconds is not None:
            return self._came_within(seconds)
        while not self._came_within(LOOK_AGAIN_SECONDS):
            pass
        return True

    def _came_within(self, seconds: float) -> bool:
        try:
            self._signals.get(timeout=seconds)
        except queue.Empty:
            return False
        return True
