"""A stream of tables that outlives its connection: what was not answered when it broke is sent again."""

from __future__ import annotations

import queue
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import grpc

from services.client.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from google.rpc import status_pb2

    from regulars.scoring.v1.scoring_pb2 import CustomerTable

WINDOW = 8
"""Tables in flight: enough to keep the server busy while answers are written, few enough to bound memory."""

MAX_BREAKS = 6
"""In a row, without an answer between them."""

FIRST_BACKOFF_SECONDS = 0.5
"""The wait after the first break; it doubles with each. All of them together outlast a server's restart."""

SATURATED = "SATURATED"
"""The reason of a server whose places are all taken."""

SATURATED_SECONDS = 1.0
"""The wait for a place. There will be one: a stream that stands still loses its own."""

_MENDED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What sending again to another server mends. Nobody cancels here: a server does, when its time to drain is over."""

_MENDED_NUMBERS = {code.value[0] for code in _MENDED}


class Answer(Protocol):
    """A response that carries the sequence number of its request, and an error where there is no answer to it."""

    @property
    def sequence(self) -> int: ...

    @property
    def error(self) -> status_pb2.Status: ...


Request = TypeVar("Request")
Response = TypeVar("Response", bound=Answer)


class TableStream(Generic[Request, Response]):
    """One pass over tables. Answers come in order, one a table.

    The tables are read in the caller's thread, at most `WINDOW` ahead of the answers; what their iterator raises
    passes to the caller as it is.
    """

    def __init__(
        self,
        call: Callable[[Iterator[Request]], Any],
        make_request: Callable[[int, CustomerTable], Request],
        tables: Iterable[CustomerTable],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._call = call
        self._numbered = ((sequence, make_request(sequence, table)) for sequence, table in enumerate(tables))
        self._sleep = sleep
        self._unanswered: deque[tuple[int, Request]] = deque()
        self._open: _OpenCall[Request, Response] | None = None

    def answers(self) -> Iterator[Response]:
        """Sends the tables and yields their answers.

        A saturated server is asked until it has a place: others' streams end, sooner or later.

        Raises:
            CallError: the stream broke `MAX_BREAKS` times in a row without an answer, or for a reason that
                sending again does not mend.
        """
        failures = 0
        try:
            while self._read_ahead():
                try:
                    response = self._receive()
                except CallError as error:
                    self._close()
                    if error.reason == SATURATED:
                        self._sleep(SATURATED_SECONDS)
                        continue
                    failures += 1
                    if error.code not in _MENDED or failures == MAX_BREAKS:
                        raise
                    self._sleep(FIRST_BACKOFF_SECONDS * 2 ** (failures - 1))
                else:
                    failures = 0
                    yield response
            if self._open:
                self._open.finish()
        finally:
            self._close()

    def _read_ahead(self) -> bool:
        """Fills the window; whether an answer is outstanding."""
        while len(self._unanswered) < WINDOW:
            entry = next(self._numbered, None)
            if entry is None:
                break
            self._unanswered.append(entry)
            if self._open:
                self._open.send(entry[1])
        return bool(self._unanswered)

    def _receive(self) -> Response:
        """The next answer, over a new call if there is none: it begins with all that is unanswered.

        Raises:
            CallError: the call broke, or its server cannot answer now.
        """
        if self._open is None:
            self._open = _OpenCall(self._call)
            for _, request in self._unanswered:
                self._open.send(request)
        try:
            response = self._open.receive()
        except grpc.RpcError as error:
            raise CallError.from_rpc(error) from error
        if response is not None and response.error.code in _MENDED_NUMBERS:
            # Of a server that has no model, for one: the table is as good as before.
            raise CallError.from_status(response.error)
        sequence, _ = self._unanswered.popleft()
        if response is None:
            raise RuntimeError(f"the server ended the stream without an answer to table {sequence}")
        if response.sequence != sequence:
            raise RuntimeError(f"table {sequence} was answered with sequence {response.sequence}")
        return response

    def _close(self) -> None:
        if self._open:
            self._open.cancel()
            self._open = None


class _OpenCall(Generic[Request, Response]):
    """One call of gRPC's, whose thread takes requests from a queue; None ends them."""

    def __init__(self, call: Callable[[Iterator[Request]], Any]) -> None:
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._responses = call(iter(self._requests.get, None))

    def send(self, request: Request) -> None:
        self._requests.put(request)

    def receive(self) -> Response | None:
        """The next answer, or None if the server has ended the call."""
        response: Response | None = next(self._responses, None)
        return response

    def finish(self) -> None:
        """Says that nothing follows, and lets the server end the call. How it ends no longer matters."""
        self._requests.put(None)
        try:
            surplus = self.receive()
        except grpc.RpcError:
            return
        if surplus is not None:
            raise RuntimeError(f"sequence {surplus.sequence} was answered, and all tables had been")

    def cancel(self) -> None:
        """Ends the call wherever it is, and lets gRPC's thread go."""
        self._requests.put(None)
        self._responses.cancel()
