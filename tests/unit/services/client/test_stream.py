"""One answer a table, in order, whatever breaks on the way."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from regulars.scoring.v1 import scoring_pb2
from services.client import CallError, ChurnClient
from services.client.errors import STATUS_TRAILER
from services.client.stream import FIRST_BACKOFF_SECONDS, MAX_BREAKS, SATURATED_SECONDS, WINDOW, TableStream
from services.core.errors import DRAINING, INVALID, NO_MODEL, SATURATED, Kind, Refusal
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from google.rpc import status_pb2

Request = churn_pb2.StreamPredictChurnRequest
Response = churn_pb2.StreamPredictChurnResponse

TABLES = 30
CODES_MENDED = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED]
CODES_NOT_MENDED = [code for code in grpc.StatusCode if code not in {grpc.StatusCode.OK, *CODES_MENDED}]


class BrokenError(grpc.RpcError):
    """What gRPC raises, as far as the client looks at it; `status` is the server's own word, if it had one."""

    def __init__(self, code: grpc.StatusCode, status: status_pb2.Status | None = None) -> None:
        super().__init__()
        self._code = code
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "broken"

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...] | None:  # type: ignore[override]  # as gRPC gives it
        return None if self._status is None else ((STATUS_TRAILER, self._status.SerializeToString()),)


def echo(request: Request) -> Response:
    return Response(sequence=request.sequence)


@dataclass
class Transport:
    """Takes the place of the stub: the n-th call breaks after `plan[n]` answers; those after the plan do not."""

    plan: list[int] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    status: status_pb2.Status | None = None
    answer: Callable[[Request], Response] = echo
    calls: list[FakeCall] = field(default_factory=list)

    def __call__(self, requests: Iterator[Request]) -> FakeCall:
        left = self.plan.pop(0) if self.plan else None
        self.calls.append(FakeCall(self, requests, left))
        return self.calls[-1]


@dataclass
class FakeCall:
    """An open call: reads a request when it is asked for an answer, and breaks when none is `left`."""

    transport: Transport
    requests: Iterator[Request]
    left: int | None = None
    cancelled: bool = False
    ended: bool = False

    def __next__(self) -> Response:
        assert not self.cancelled
        if self.left == 0:
            raise BrokenError(self.transport.code, self.transport.status)
        self.left = None if self.left is None else self.left - 1
        try:
            request = next(self.requests)
        except StopIteration:
            self.ended = True
            raise
        return self.transport.answer(request)

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Sleeper:
    """Waits no time, and remembers how long it should have."""

    naps: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.naps.append(seconds)


def tables(count: int = TABLES) -> Iterator[scoring_pb2.CustomerTable]:
    return (scoring_pb2.CustomerTable(ids=[f"customer of {number}"]) for number in range(count))


def request_of(sequence: int, table: scoring_pb2.CustomerTable) -> Request:
    return Request(sequence=sequence, customers=table)


def stream_over(
    call: Callable[[Iterator[Request]], Any],
    source: Iterable[scoring_pb2.CustomerTable],
    sleep: Callable[[float], None] | None = None,
) -> Iterator[Response]:
    return TableStream[Request, Response](call, request_of, source, sleep or Sleeper()).answers()


def sequences(answers: Iterable[Response]) -> list[int]:
    return [answer.sequence for answer in answers]


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(0, 40))
def test_nothing_is_lost_and_nothing_comes_twice_wherever_it_breaks(plan: list[int], count: int) -> None:
    # Too many calls in a row without an answer would end the stream, so every fourth has one.
    plan = [max(answers, place % (MAX_BREAKS - 1) == 0) for place, answers in enumerate(plan)]
    transport = Transport(plan)
    assert sequences(stream_over(transport, tables(count))) == list(range(count))
    assert all(call.cancelled for call in transport.calls)


def test_every_table_is_sent_under_its_own_number_also_when_it_is_sent_again() -> None:
    seen: list[tuple[int, str]] = []

    def answer(request: Request) -> Response:
        seen.append((request.sequence, request.customers.ids[0]))
        return Response(sequence=request.sequence)

    assert sequences(stream_over(Transport([3, 0, 9], answer=answer), tables())) == list(range(TABLES))
    assert seen == [(number, f"customer of {number}") for number in range(TABLES)]


def test_no_table_means_no_call() -> None:
    transport = Transport()
    assert sequences(stream_over(transport, [])) == []
    assert transport.calls == []


def test_nothing_happens_before_the_first_answer_is_asked_for() -> None:
    transport = Transport()
    stream_over(transport, tables())
    assert transport.calls == []


def test_the_source_is_read_no_further_ahead_than_the_window() -> None:
    read = 0

    def source() -> Iterator[scoring_pb2.CustomerTable]:
        nonlocal read
        for table in tables(100):
            read += 1
            yield table

    # A break changes nothing about it: what is sent again was read before.
    ahead = [read - answered for answered, _ in enumerate(stream_over(Transport([5, 0, 20]), source()))]
    assert ahead[: 100 - WINDOW] == [WINDOW] * (100 - WINDOW)
    assert max(ahead) == WINDOW


def test_so_many_breaks_in_a_row_end_it_and_the_waits_grow() -> None:
    transport, sleeper = Transport([2] + [0] * 100), Sleeper()
    answers = stream_over(transport, tables(), sleeper)
    assert [next(answers).sequence, next(answers).sequence] == [0, 1]
    with pytest.raises(CallError) as failed:
        next(answers)
    assert failed.value.code is grpc.StatusCode.UNAVAILABLE
    assert isinstance(failed.value.__cause__, BrokenError)
    # The first call breaks once it has answered twice, the others at once.
    assert len(transport.calls) == MAX_BREAKS
    assert sleeper.naps == [FIRST_BACKOFF_SECONDS * 2**turn for turn in range(MAX_BREAKS - 1)]


def test_an_answer_between_two_breaks_starts_the_count_anew() -> None:
    plan = [0] * (MAX_BREAKS - 1) + [1] + [0] * (MAX_BREAKS - 2)
    sleeper = Sleeper()
    assert sequences(stream_over(Transport(plan), tables(), sleeper)) == list(range(TABLES))
    assert sleeper.naps[MAX_BREAKS - 1] == FIRST_BACKOFF_SECONDS


@pytest.mark.parametrize("code", CODES_MENDED, ids=lambda code: code.name)
def test_what_another_server_may_answer_is_sent_again(code: grpc.StatusCode) -> None:
    transport = Transport([3, 0, 9], code)
    assert sequences(stream_over(transport, tables())) == list(range(TABLES))
    assert len(transport.calls) == 4


@pytest.mark.parametrize("code", CODES_NOT_MENDED, ids=lambda code: code.name)
def test_what_sending_again_does_not_mend_is_not_sent_again(code: grpc.StatusCode) -> None:
    transport = Transport([0], code)
    with pytest.raises(CallError) as failed:
        next(stream_over(transport, tables()))
    assert failed.value.code is code
    assert len(transport.calls) == 1


def test_a_saturated_server_is_asked_until_it_has_a_place() -> None:
    status = Refusal(SATURATED).to_status()
    transport = Transport([3, *[0] * 5 * MAX_BREAKS], grpc.StatusCode.RESOURCE_EXHAUSTED, status)
    sleeper = Sleeper()
    assert sequences(stream_over(transport, tables(), sleeper)) == list(range(TABLES))
    assert sleeper.naps == [SATURATED_SECONDS] * (5 * MAX_BREAKS + 1)


@pytest.mark.parametrize("kind", [NO_MODEL, DRAINING], ids=lambda kind: kind.reason)
def test_a_table_that_is_answered_with_a_refusal_for_now_is_sent_again(kind: Kind) -> None:
    refusals = 2

    def answer(request: Request) -> Response:
        nonlocal refusals
        if request.sequence == 7 and refusals:
            refusals -= 1
            return Response(sequence=7, error=Refusal(kind).to_status())
        return Response(sequence=request.sequence)

    transport, sleeper = Transport(answer=answer), Sleeper()
    assert sequences(stream_over(transport, tables(), sleeper)) == list(range(TABLES))
    assert sleeper.naps == [FIRST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2]
    assert len(transport.calls) == 3


def test_a_table_that_is_refused_for_good_is_an_answer() -> None:
    refused = Refusal(INVALID).to_status()
    transport = Transport(answer=lambda request: Response(sequence=request.sequence, error=refused))
    assert [answer.error for answer in stream_over(transport, tables(3))] == [refused] * 3
    assert len(transport.calls) == 1


@pytest.mark.parametrize("after", [0, 1, WINDOW, WINDOW + 1, 20])
@pytest.mark.parametrize("error", [ZeroDivisionError("at the source"), BrokenError(grpc.StatusCode.UNAVAILABLE)])
def test_what_the_source_raises_reaches_the_caller_as_it_is(after: int, error: Exception) -> None:
    def source() -> Iterator[scoring_pb2.CustomerTable]:
        yield from tables(after)
        raise error

    transport = Transport()
    with pytest.raises(type(error)) as raised:
        sequences(stream_over(transport, source()))
    assert raised.value is error
    assert [call.cancelled for call in transport.calls] == [True] * len(transport.calls)
    assert len(transport.calls) <= 1


def test_a_server_that_ends_early_is_no_end() -> None:
    def call(requests: Iterator[Request]) -> FakeCall:
        return FakeCall(Transport(), islice(requests, 1))

    answers = stream_over(call, tables(3))
    assert next(answers).sequence == 0
    with pytest.raises(RuntimeError, match="ended the stream without an answer to table 1"):
        next(answers)


def test_an_answer_to_another_table_is_refused() -> None:
    answers = stream_over(Transport(answer=lambda request: Response(sequence=request.sequence // 2)), tables())
    next(answers)
    with pytest.raises(RuntimeError, match="table 1 was answered with sequence 0"):
        next(answers)


def test_an_answer_too_many_is_noticed() -> None:
    def call(requests: Iterator[Request]) -> FakeCall:
        return FakeCall(Transport(), (request_of(number, next(tables())) for number in range(3)))

    with pytest.raises(RuntimeError, match="sequence 2 was answered, and all tables had been"):
        sequences(stream_over(call, tables(2)))


def test_a_break_after_the_last_answer_takes_nothing_away() -> None:
    transport = Transport([TABLES])
    assert sequences(stream_over(transport, tables())) == list(range(TABLES))
    assert len(transport.calls) == 1


def test_a_call_that_was_answered_whole_is_let_end_by_itself() -> None:
    transport = Transport()
    sequences(stream_over(transport, tables()))
    assert [call.ended for call in transport.calls] == [True]


class Breaking(churn_pb2_grpc.ChurnServiceServicer):
    """A real servicer: its n-th stream breaks after `plan[n]` answers."""

    def __init__(self, plan: list[int]) -> None:
        self.plan = plan
        self.answered: list[list[int]] = []
        self._ended = threading.Semaphore(0)

    def StreamPredictChurn(  # noqa: N802 - the method's name in the proto
        self, requests: Iterator[Request], context: grpc.ServicerContext
    ) -> Iterator[Response]:
        left = self.plan.pop(0) if self.plan else None
        self.answered.append([])
        context.add_callback(self._ended.release)
        for request in requests:
            if left == 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "breaking")
            left = None if left is None else left - 1
            self.answered[-1].append(request.sequence)
            yield Response(sequence=request.sequence)

    def wait_until_answered(self, sequence: int) -> None:
        """From then on gRPC's thread at the client waits for a table to send."""
        eventually(lambda: bool(self.answered) and sequence in self.answered[-1], f"the answer to table {sequence}")

    def wait_for_the_end_of_a_call(self) -> None:
        assert self._ended.acquire(timeout=PATIENCE_SECONDS)


@contextmanager
def listening(plan: list[int]) -> Iterator[tuple[Breaking, str]]:
    """The servicer on a real connection, and its address."""
    servicer = Breaking(plan)  # type: ignore[abstract]  # its other methods are UNIMPLEMENTED
    server = grpc.server(ThreadPoolExecutor(4))
    churn_pb2_grpc.add_ChurnServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextmanager
def connected(plan: list[int]) -> Iterator[tuple[Breaking, Callable[[Iterator[Request]], Any]]]:
    """The servicer, and the method of its stub, without gRPC's own retries."""
    with listening(plan) as (servicer, target), grpc.insecure_channel(target, [("grpc.enable_retries", 0)]) as channel:
        yield servicer, churn_pb2_grpc.ChurnServiceStub(channel).StreamPredictChurn


def live_threads() -> set[threading.Thread]:
    """Those of a server's pool live until the pool is collected."""
    gc.collect()
    return set(threading.enumerate())


class TestOverARealConnection:
    def test_it_goes_on_after_the_last_answer(self) -> None:
        with connected([3, 0, WINDOW, 1]) as (servicer, call):
            assert sequences(stream_over(call, tables())) == list(range(TABLES))
        assert servicer.answered == [[0, 1, 2], [], list(range(3, 3 + WINDOW)), [11], list(range(12, TABLES))]

    def test_it_does_so_over_the_client_s_own_channel(self) -> None:
        with listening([3, 5, 1]) as (servicer, target), ChurnClient(target) as client:
            assert sequences(client.stream_predict(tables())) == list(range(TABLES))
        assert [number for call in servicer.answered for number in call] == list(range(TABLES))

    def test_the_source_is_read_in_the_caller_s_thread(self) -> None:
        threads = set()

        def source() -> Iterator[scoring_pb2.CustomerTable]:
            for table in tables():
                threads.add(threading.get_ident())
                yield table

        with connected([4]) as (_, call):
            sequences(stream_over(call, source()))
        assert threads == {threading.get_ident()}

    def test_who_stops_asking_ends_the_call_and_its_thread(self) -> None:
        before = live_threads()
        with connected([]) as (servicer, call):
            answers = stream_over(call, tables())
            next(answers)
            assert live_threads() > before
            del answers
            servicer.wait_for_the_end_of_a_call()
        eventually(lambda: live_threads() <= before, "the thread of the call to end")

    def test_a_source_that_fails_ends_the_call_and_its_thread(self) -> None:
        def source() -> Iterator[scoring_pb2.CustomerTable]:
            yield from tables(WINDOW + 2)
            servicer.wait_until_answered(WINDOW + 1)
            raise ZeroDivisionError

        before = live_threads()
        with connected([]) as (servicer, call):
            with pytest.raises(ZeroDivisionError):
                sequences(stream_over(call, source()))
            servicer.wait_for_the_end_of_a_call()
        eventually(lambda: live_threads() <= before, "the thread of the call to end")
