"""Waiting for what a caller sends, and no longer than one can wait."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from services.core.errors import CANCELLED, DRAINING, IDLE, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from services.core.admission import Gate

MESSAGE_SECONDS = 5.0
"""For the message of a call whose headers are here: callers send both at once."""

LOOK_SECONDS = 1.0


class Cancellable(Protocol):
    """A call, by its context."""

    def cancel(self) -> object: ...


class Patience:
    """Ends calls that hold a place and send nothing."""

    def __init__(self, seconds: float = MESSAGE_SECONDS) -> None:
        self._seconds = seconds
        self._since: dict[Cancellable, float] = {}
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="patience", daemon=True)

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._stopping.set()

    def message(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes | None:
        """The call's one message, None if there is none; raises what gRPC does where the call ends before it."""
        self.expect(context)
        try:
            return next(requests, None)
        finally:
            self.came(context)

    def expect(self, call: Cancellable) -> None:
        """From now on its message is waited for, until it `came`."""
        self._since[call] = time.monotonic()

    def came(self, call: Cancellable) -> None:
        del self._since[call]

    def look(self) -> None:
        """Cancels whoever has been waited for too long: nothing else wakes a thread that sleeps in gRPC."""
        longest = time.monotonic() - self._seconds
        for call, since in list(self._since.items()):
            if since < longest:
                call.cancel()

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self.look()


class Messages:
    """A stream's messages, read in a thread of their own, so that waiting for one can end.

    One is read when it is asked for, and no sooner: what a caller sends ahead stays in HTTP/2's window, at his end. So
    only one of the two threads waits at a time, and the other notices when nothing has moved for `idle_seconds`.
    """

    def __init__(
        self, requests: Iterator[bytes], context: grpc.ServicerContext, gate: Gate, idle_seconds: float
    ) -> None:
        self._requests = requests
        self._context = context
        self._gate = gate
        self._idle_seconds = idle_seconds
        self._wanted = threading.Semaphore(0)
        self._left = False
        self._came: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()

    @contextmanager
    def read(self) -> Iterator[Iterator[bytes]]:
        """Gives them one by one, to the end of the stream.

        Raises:
            Refusal: DRAINING once the gate has closed, IDLE where nothing comes.
            Exception: what gRPC raises where the caller goes.
        """
        threading.Thread(target=self._read, name="messages", daemon=True).start()
        try:
            with self._gate.waking(lambda: self._came.put(Refusal(DRAINING))):
                yield iter(self._next, None)
        finally:
            self._left = True
            self._wanted.release()

    def _next(self) -> bytes | None:
        # A whole base outlasts any grace period: the caller sends what is unanswered to another server.
        if self._gate.closed:
            raise Refusal(DRAINING)
        self._wanted.release()
        try:
            came = self._came.get(timeout=self._idle_seconds)
        except queue.Empty:
            raise Refusal(IDLE) from None
        if isinstance(came, Exception):
            raise came
        return came

    def _read(self) -> None:
        try:
            while self._wanted.acquire(timeout=self._idle_seconds):
                if self._left:
                    return
                message = next(self._requests, None)
                self._came.put(message)
                if message is None:
                    return
        except Exception as error:  # noqa: BLE001 - it is raised where the message is waited for
            self._came.put(error)
            return
        # Who asks for no message waits in gRPC, for the caller to take an answer. gRPC may let him go on before it
        # knows that the call has ended, and he would ask for a message that nobody reads any more.
        self._came.put(Refusal(CANCELLED))
        self._context.cancel()
