"""Unary calls, read and answered in gRPC's own loop.

`grpc.server` hands every call to a thread, which then waits for a message that the loop reads: two hand-offs, and a
handler that costs less than they do. Here the loop reads the message as well, and handles what is small itself.

It is gRPC's own server, which takes these calls beside all others and from the same queue of events: health,
reflection, streams and the drain stay gRPC's. That part of gRPC is private: `is_known` tells whether this version of it
has been tried. With any other, calls take the public way, which is slower and the same in all else.
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
from services.core.call_threads import arrived_at
from services.core.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.core.access import Doorkeeper
    from services.core.admission import Lane, Place
    from services.core.waiting import Patience

    Handle = Callable[[Iterator[bytes], grpc.ServicerContext], bytes]

KNOWN = ("1.85.",)
"""Versions of gRPC whose private part was tried, by how they begin."""

SMALL_BYTES = 4096
"""Of a message that the loop handles itself. It holds a few customers at most, and while it is handled, which takes
parts of a millisecond, nothing else is read."""

QUICK_SECONDS = 0.002
"""Of processor time, that the loop may spend on a call. What takes longer would hold up health checks."""

_FORGOTTEN = 1 / 8
"""Of a method's slowest call, with every call that was quicker."""

_NO_FLAGS = 0

_log = logging.getLogger(__name__)


def is_known(version: str = grpc.__version__) -> bool:
    return version.startswith(KNOWN)


class Turns(cygrpc.CompletionQueue):  # type: ignore[misc]  # untyped
    """gRPC's queue of events, whose reader handles calls in between: one whenever nothing else has come.

    What has come goes first, so that calls are admitted or refused at once, and health is answered between two calls.
    """

    def __init__(self) -> None:
        self._ready: deque[Callable[[], None]] = deque()

    def put(self, handle: Callable[[], None]) -> None:
        self._ready.append(handle)

    def poll(self, deadline: float | None = None) -> Any:  # noqa: ANN401 - gRPC's event
        poll = super().poll
        while self._ready:
            event = poll(0)
            if event.completion_type != cygrpc.CompletionType.queue_timeout:
                return event
            self._ready.popleft()()
        return poll(deadline)


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
        self._methods: list[_Method] = []

    def add_unary(self, service: str, method: str, handle: Handle, lane: Lane) -> None:
        """Before it starts. `handle` gets the message and answers with one, as bytes."""
        self._cy_server.register_method(f"/{service}/{method}")
        self._methods.append(_Method(self, service, method, handle, lane))

    def start(self) -> None:
        super().start()
        with self._state.lock:
            for method in self._methods:
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

    def __init__(self, server: InlineServer, service: str, name: str, handle: Handle, lane: Lane) -> None:
        self.path = f"/{service}/{name}"
        self.handle = handle
        self.lane = lane
        self._server = server
        self._service = service
        self._name = name
        # Nobody knows yet.
        self._seconds = math.inf

    @property
    def is_quick(self) -> bool:
        return self._seconds < QUICK_SECONDS

    def observe(self, seconds: float) -> None:
        """One call took so long. A slow one is believed at once, for the next may be as slow; a quick one by and by."""
        quicker = seconds < self._seconds < math.inf
        self._seconds = self._seconds + (seconds - self._seconds) * _FORGOTTEN if quicker else seconds

    def __call__(self, event: Any) -> tuple[object, tuple[()]]:  # noqa: ANN401 - gRPC's event
        """Takes a call; returns to the loop what has ended."""
        if not event.success:
            self._server.take(self, None)
            return self, ()
        call = _InlineCall(self, self._server, event)
        self._server.take(self, call)
        doorkeeper = self._server.doorkeeper
        call.begin(doorkeeper.refuser(self._service, self._name, event.invocation_metadata) if doorkeeper else None)
        return None, ()


class _AbortedError(Exception):
    """The call has its status."""


class _InlineCall:
    """One call, which to its handler is gRPC's context: as much of one as handlers here use.

    All but `answer` runs in gRPC's loop.
    """

    __slots__ = (
        "_arrived",
        "_call",
        "_closed",
        "_deadline",
        "_event",
        "_gone",
        "_method",
        "_sending",
        "_server",
        "_status",
        "_trailing",
    )

    def __init__(self, method: _Method, server: InlineServer, event: Any) -> None:  # noqa: ANN401 - gRPC's event
        self._arrived = time.perf_counter()
        self._method = method
        self._server = server
        self._event = event
        self._call = event.call
        self._deadline: float = event.call_details.deadline
        self._gone = self._closed = self._sending = False
        self._status: tuple[Any, bytes] = (cygrpc.StatusCode.ok, b"")
        self._trailing: tuple[Any, ...] | None = None

    def begin(self, refuse: Handle | None) -> None:
        """Answers a call that is refused, and asks for the message of any other."""
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._on_close)
        if refuse:
            self.answer(refuse, iter(()))
            return
        admission = self._method.lane.admit()
        if isinstance(admission, Refusal):
            self._work(admission, None)
            return
        self._server.patience.expect(self)
        self._call.start_server_batch(
            (cygrpc.ReceiveMessageOperation(_NO_FLAGS),), lambda event: self._on_message(admission, event)
        )

    def _on_message(self, admission: Place, event: Any) -> tuple[None, tuple[()]]:  # noqa: ANN401 - gRPC's event
        self._server.patience.came(self)
        message: bytes | None = event.batch_operations[0].message()
        if message is None or (len(message) <= SMALL_BYTES and self._method.is_quick):
            self._server.turns.put(lambda: self._work(admission, message))
        else:
            self._method.lane.work(lambda: self._work(admission, message))
        return None, ()

    def _work(self, admission: Place | Refusal, message: bytes | None) -> None:
        arrived_at(self._arrived)
        messages = iter(()) if message is None else iter((message,))
        handle_admitted(admission, self.answer, self._method.handle, messages)

    def answer(self, handle: Handle, messages: Iterator[bytes]) -> None:
        answers: tuple[Any, ...] = ()
        # Not what passes on the clock: a thread may wait long for the interpreter.
        began = time.thread_time()
        try:
            response = handle(messages, cast("grpc.ServicerContext", self))
            self._method.observe(time.thread_time() - began)
            answers = (cygrpc.SendMessageOperation(response, _NO_FLAGS),)
        except _AbortedError:
            pass
        except BaseException:  # noqa: BLE001 - nothing may leave for gRPC's loop
            _log.exception("a call failed")
            self._status = (cygrpc.StatusCode.internal, b"")
        code, text = self._status
        parts = (
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            *answers,
            cygrpc.SendStatusFromServerOperation(self._trailing, code, text, _NO_FLAGS),
        )
        with self._server.closing:
            # Of a call that is closed before it was answered, the server holds nothing any more, and may have ended.
            if not self._closed:
                self._sending = True
                self._call.start_server_batch(parts, self._on_sent)

    def _on_close(self, event: Any) -> tuple[object, tuple[()]]:  # noqa: ANN401 - gRPC's event
        self._gone = event.batch_operations[0].cancelled()
        with self._server.closing:
            self._closed = True
            return (None if self._sending else self), ()

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
