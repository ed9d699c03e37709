"""Unary calls, read and answered in gRPC's own loop.

`grpc.server` hands every call to a thread, which then waits for a message that the loop reads: two hand-offs, and a
handler that costs less than they do. Here the loop reads the message as well, and handles what is small itself.

It is gRPC's own server, which takes these calls beside all others and from the same queue of events: health,
reflection, streams and the drain stay gRPC's. That part of gRPC is private. So this module is imported only where the
version of gRPC is one that has been tried; with any other, calls take the public way, which is slower and the same in
all else.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
from grpc import _server as server_of_grpc
from grpc._common import STATUS_CODE_TO_CYGRPC_STATUS_CODE as CODES
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private, untyped
from grpc._interceptor import service_pipeline

from services.core.admission import handle_admitted
from services.core.call_threads import taken_up
from services.core.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.core.access import Doorkeeper
    from services.core.admission import Lane, Place
    from services.core.waiting import Patience

    Handle = Callable[[Iterator[bytes], grpc.ServicerContext], bytes]
    Together = Callable[[Sequence[bytes]], Sequence[object]]

SMALL_BYTES = 4096
"""Of a message that the loop handles itself: a customer, or a table of some dozens. While it is handled, which takes
parts of a millisecond, nothing else is read."""

QUICK_SECONDS = 0.002
"""Of processor time, that the loop may spend on a call. What takes longer would hold up health checks."""

IN_A_ROW = 16
"""Calls, whose code and trees then lie in the processor's cache: one or two milliseconds of them."""

FIRST_EVENTS = 256
"""That go before calls that are ready. So many that a crowd is refused faster than it comes back, and does not wait
unseen in front of the loop; so few, some milliseconds, that it does not keep those who were admitted waiting."""

_FORGOTTEN = 1 / 8
"""Of a method's slowest call, with every call that was quicker."""

_NO_FLAGS = 0

_log = logging.getLogger(__name__)


class Turns(cygrpc.CompletionQueue):  # type: ignore[misc]  # untyped
    """gRPC's queue of events, whose reader handles calls in between: a few whenever nothing else has come.

    What has come goes first, so that calls are admitted or refused at once, and health is answered in between; but only
    so much of it, lest a crowd that is refused keeps those who were admitted waiting. Calls of one method that wait
    together are scored together: nobody waits for others to come, and under load one run of the graph serves many.
    """

    def __init__(self) -> None:
        self._ready: deque[_InlineCall] = deque()
        self._gone_first = 0
        self._crowded = False

    def put(self, call: _InlineCall) -> None:
        self._ready.append(call)

    def poll(self, deadline: float | None = None) -> Any:  # noqa: ANN401 - gRPC's event
        return self.next(super().poll, deadline)

    def next(self, poll: Callable[[float | None], Any], deadline: float | None) -> Any:  # noqa: ANN401 - gRPC's event
        """What `poll` gives, by gRPC's queue; calls take their turns before."""
        while self._ready:
            if self._gone_first < FIRST_EVENTS:
                event = poll(0)
                if self._crowded and _is_none(event):
                    # A look may read what is no event yet, and one more call in a run costs less than the next run.
                    event = poll(0)
                if not _is_none(event):
                    self._gone_first += 1
                    return event
            self._gone_first = 0
            self._handle()
        return poll(deadline)

    def _handle(self) -> None:
        calls = [self._ready.popleft() for _ in range(min(IN_A_ROW, len(self._ready)))]
        self._crowded = len(calls) > 1
        if self._crowded:
            for method in {call.method for call in calls}:
                method.go_ahead([call for call in calls if call.method is method])
        for call in calls:
            call.take_turn()


def _is_none(event: Any) -> bool:  # noqa: ANN401 - gRPC's event
    """Whether nothing has come."""
    return bool(event.completion_type == cygrpc.CompletionType.queue_timeout)


class InlineServer(server_of_grpc._Server):  # noqa: SLF001 - private, see above
    """gRPC's server, which has one thing more: unary methods whose calls its loop handles."""

    def __init__(
        self, patience: Patience, doorkeeper: Doorkeeper | None, options: Sequence[tuple[str, int | str]]
    ) -> None:
        """All as gRPC sets itself up, but for the queue."""
        self.turns = Turns()
        self._cy_server = cygrpc.Server(server_of_grpc._augment_options(options, None, False), False)  # noqa: SLF001
        self._cy_server.register_completion_queue(self.turns)
        interceptors = service_pipeline([doorkeeper] if doorkeeper else [])
        self._state: Any = server_of_grpc._ServerState(  # noqa: SLF001
            self.turns, self._cy_server, (), interceptors, ThreadPoolExecutor(1), None
        )
        self.patience = patience
        self.doorkeeper = doorkeeper
        self.closing = threading.Lock()
        self.methods: list[_Method] = []

    def add_unary(
        self, service: str, method: str, handle: Handle, lane: Lane, together: Together | None = None
    ) -> None:
        """Before it starts. `handle` gets the message and answers with one, as bytes.

        `together` does for several messages what can be done for them at once, and returns for each what `handle` finds
        as `done_ahead`.
        """
        self._cy_server.register_method(f"/{service}/{method}")
        self.methods.append(_Method(self, service, method, handle, lane, together))

    def start(self) -> None:
        super().start()
        with self._state.lock:
            for method in self.methods:
                self.request(method)

    def request(self, method: _Method) -> None:
        """Asks for the next call of a method. The state's lock is held."""
        self._cy_server.request_registered_call(self.turns, self.turns, method.path, method)
        self._state.due.add(method)

    def take(self, method: _Method, call: _InlineCall | None) -> None:
        """A call has come, or none will come any more."""
        with self._state.lock:
            self._state.due.remove(method)
            # gRPC's loop takes out again what it is given, and stops when a server that drains holds nothing any more.
            self._state.rpc_states.add(call or method)
            if self._state.stage is server_of_grpc._ServerStage.STARTED:  # noqa: SLF001
                self.request(method)


class _Method:
    """What gRPC's loop calls with each call of one method."""

    def __init__(
        self,
        server: InlineServer,
        service: str,
        name: str,
        handle: Handle,
        lane: Lane,
        together: Together | None,
    ) -> None:
        self.path = f"/{service}/{name}"
        self.handle = handle
        self.lane = lane
        self._server = server
        self._service = service
        self._name = name
        self._together = together
        # Nobody knows yet.
        self._seconds = math.inf

    @property
    def is_quick(self) -> bool:
        return self._seconds < QUICK_SECONDS

    def observe(self, seconds: float, *, answered: bool) -> None:
        """One call took so long. A slow one is believed at once, for the next may be as slow; a quick one by and by,
        and only if it was answered: what is refused is refused quickly.
        """
        quicker = seconds < self._seconds
        if quicker and not answered:
            return
        by_and_by = quicker and self._seconds != math.inf
        self._seconds = self._seconds + (seconds - self._seconds) * _FORGOTTEN if by_and_by else seconds

    def go_ahead(self, calls: Sequence[_InlineCall]) -> None:
        """Does for several calls what can be done for them together, ahead of their turns."""
        waiting = [call for call in calls if call.message is not None and call.is_active()]
        if self._together is None or len(waiting) < 2:  # noqa: PLR2004 - several
            return
        began = time.thread_time()
        try:
            done = self._together([call.message for call in waiting if call.message is not None])
        except Exception:  # noqa: BLE001 - nothing may leave for gRPC's loop
            # Each tells in its own turn what is the matter with it.
            _log.exception("calls could not be handled together")
            return
        seconds = (time.thread_time() - began) / len(waiting)
        for call, ahead in zip(waiting, done, strict=True):
            call.go_ahead(ahead, seconds)

    def __call__(self, event: Any) -> tuple[object, tuple[()]]:  # noqa: ANN401 - gRPC's event
        """Takes a call; returns to the loop what has ended."""
        if not event.success:
            self._server.take(self, None)
            return self, ()
        call = _InlineCall(self, self._server, event)
        self._server.take(self, call)
        try:
            call.begin(self._refuser(event))
        except Exception:  # noqa: BLE001 - as above
            _log.exception("a call could not be taken")
            call.cancel()
        return None, ()

    def _refuser(self, event: Any) -> Handle | None:  # noqa: ANN401 - gRPC's event
        doorkeeper = self._server.doorkeeper
        return doorkeeper.refuser(self._service, self._name, event.invocation_metadata) if doorkeeper else None


class _AbortedError(Exception):
    """The call has its status."""


class _InlineCall:
    """One call, which to its handler is gRPC's context: as much of one as handlers here use.

    gRPC's loop does all with it but the work on what is large or slow, which a thread of the lane does.
    """

    __slots__ = (
        "_admission",
        "_ahead",
        "_arrived",
        "_call",
        "_closed",
        "_deadline",
        "_event",
        "_gone",
        "_reads",
        "_seconds",
        "_sending",
        "_server",
        "_status",
        "_trailing",
        "_waits",
        "message",
        "method",
    )

    def __init__(self, method: _Method, server: InlineServer, event: Any) -> None:  # noqa: ANN401 - gRPC's event
        self.method = method
        self.message: bytes | None = None
        self._arrived = time.perf_counter()
        self._server = server
        self._event = event
        self._call = event.call
        self._deadline: float = event.call_details.deadline
        self._gone = self._closed = self._reads = self._waits = self._sending = False
        self._admission: Place | Refusal
        self._ahead: object = None
        self._seconds = 0.0
        self._status: tuple[Any, bytes] = (cygrpc.StatusCode.ok, b"")
        self._trailing: tuple[Any, ...] | None = None

    def begin(self, refuse: Handle | None) -> None:
        """Answers a call that is refused, and asks for the message of any other."""
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._on_close)
        if refuse:
            self.answer(refuse, iter(()))
            return
        self._admission = self.method.lane.admit()
        if isinstance(self._admission, Refusal):
            self._work()
            return
        self._server.patience.expect(self)
        self._reads = True
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._on_message)

    def _on_message(self, event: Any) -> tuple[object, tuple[()]]:  # noqa: ANN401 - gRPC's event
        self._server.patience.came(self)
        self._reads = False
        self.message = event.batch_operations[0].message()
        if self.message is None or (len(self.message) <= SMALL_BYTES and self.method.is_quick):
            self._waits = True
            self._server.turns.put(self)
        else:
            self.method.lane.work(self._work)
        if self._closed:
            self.take_turn()
            return self, ()
        return None, ()

    def go_ahead(self, ahead: object, seconds: float) -> None:
        """So much was done for it, in so many seconds of the processor's time."""
        self._ahead, self._seconds = ahead, seconds

    def take_turn(self) -> None:
        """In the loop, once."""
        if self._waits:
            self._waits = False
            self._work()

    def _work(self) -> None:
        messages = iter(()) if self.message is None else iter((self.message,))
        with taken_up(self._arrived, self._ahead):
            handle_admitted(self._admission, self.answer, self.method.handle, messages)

    def answer(self, handle: Handle, messages: Iterator[bytes]) -> None:
        answers: tuple[Any, ...] = ()
        answered = False
        # Not what passes on the clock: a thread may wait long for the interpreter.
        began = time.thread_time()
        try:
            response = handle(messages, cast("grpc.ServicerContext", self))
            answered = True
            answers = (cygrpc.SendMessageOperation(response, _NO_FLAGS),)
        except _AbortedError:
            pass
        except BaseException:  # noqa: BLE001 - nothing may leave for gRPC's loop
            _log.exception("a call failed")
            self._status = (cygrpc.StatusCode.internal, b"")
        self.method.observe(self._seconds + time.thread_time() - began, answered=answered)
        code, text = self._status
        parts = (
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            *answers,
            cygrpc.SendStatusFromServerOperation(self._trailing, code, text, _NO_FLAGS),
        )
        with self._server.closing:
            # Of a call that is closed before it was answered, the server holds nothing any more, and may have ended.
            if not self._closed:
                self._call.start_server_batch(parts, self._on_sent)
                self._sending = True

    def _on_close(self, event: Any) -> tuple[object, tuple[()]]:  # noqa: ANN401 - gRPC's event
        self._gone = event.batch_operations[0].cancelled()
        with self._server.closing:
            self._closed = True
            ended = not (self._sending or self._reads)
        # Nobody waits for it any more. It is counted, and gives its place back.
        self.take_turn()
        return (self if ended else None), ()

    def _on_sent(self, _event: object) -> tuple[object, tuple[()]]:
        self._sending = False
        return (self if self._closed else None), ()

    # What handlers use of a context.

    def is_active(self) -> bool:
        return not self._gone and time.time() < self._deadline

    def time_remaining(self) -> float:
        return max(0.0, self._deadline - time.time())

    def cancel(self) -> None:
        self._call.cancel()

    def invocation_metadata(self) -> Any:  # noqa: ANN401 - gRPC's metadata
        return self._event.invocation_metadata

    def set_trailing_metadata(self, metadata: tuple[Any, ...]) -> None:
        self._trailing = metadata

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        self._status = (CODES[code], details.encode())
        raise _AbortedError
