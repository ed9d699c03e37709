"""A stream of tables that outlives its connection: what was not answered when it broke is sent again."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import grpc

from services.client.channel import MAX_ATTEMPTS
from services.client.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regulars.scoring.v1.scoring_pb2 import CustomerTable

WINDOW = 8
"""Tables in flight: enough to keep the server busy while answers are written, few enough to bound memory."""

FIRST_BACKOFF_SECONDS = 0.1
_LOOK_SECONDS = 0.1


class Answer(Protocol):
    """A response that carries the sequence number of its request."""

    @property
    def sequence(self) -> int: ...


Request = TypeVar("Request")
Response = TypeVar("Response", bound=Answer)


class TableStream(Generic[Request, Response]):
    """One pass over tables. Answers come in order, one a table."""

    def __init__(
        self,
        call: Callable[[Iterator[Request]], Any],
        make_request: Callable[[int, CustomerTable], Request],
        tables: Iterable[CustomerTable],
    ) -> None:
        self._call = call
        self._make_request = make_request
        self._tables = enumerate(tables)
        self._unanswered: deque[tuple[int, Request]] = deque()
        self._lock = threading.Lock()
        self._places = threading.Semaphore(WINDOW)
        self._exhausted = False

    def answers(self) -> Iterator[Response]:
        """Sends the tables and yields their answers.

        Raises:
            CallError: the stream broke `MAX_ATTEMPTS` times in a row without an answer, or for a reason that
                sending again does not mend.
        """
        failures = 0
        while True:
            closed = threading.Event()
            responses = self._call(self._requests(closed))
            try:
                for response in responses:
                    failures = 0
                    self._settle(response)
                    yield response
            except grpc.RpcError as error:
                failures += 1
                if error.code() is not grpc.StatusCode.UNAVAILABLE or failures == MAX_ATTEMPTS:
                    raise CallError.from_rpc(error) from error
                time.sleep(FIRST_BACKOFF_SECONDS * 2 ** (failures - 1))
            else:
                return
            finally:
                closed.set()
                responses.cancel()

    def _requests(self, closed: threading.Event) -> Iterator[Request]:
        """Runs in a thread of gRPC's: first what the broken stream left unanswered, then new tables."""
        with self._lock:
            resent = list(self._unanswered)
        for _, unanswered in resent:
            yield unanswered
        while (request := self._next_request(closed)) is not None:
            yield request

    def _next_request(self, closed: threading.Event) -> Request | None:
        while not self._places.acquire(timeout=_LOOK_SECONDS):
            if closed.is_set():
                return None
        with self._lock:
            # A thread of a broken stream must not take a table that its successor should send.
            entry = None if closed.is_set() or self._exhausted else next(self._tables, None)
            if entry is None:
                self._exhausted = self._exhausted or not closed.is_set()
                self._places.release()
                return None
            sequence, table = entry
            request = self._make_request(sequence, table)
            self._unanswered.append((sequence, request))
            return request

    def _settle(self, response: Response) -> None:
        with self._lock:
            sequence, _ = self._unanswered.popleft()
        if response.sequence != sequence:
            raise RuntimeError(f"table {sequence} was answered with sequence {response.sequence}")
        self._places.release()
