from __future__ import annotations

import math
import signal
import threading
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

import grpc
import pytest

from services.client import CallError, coalescing
from services.client.coalescing import IN_FLIGHT, MOST, Coalescer
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BAD = -1
"""A question that nobody can answer."""

INVALID = CallError(grpc.StatusCode.INVALID_ARGUMENT, "does not fit", "INVALID_CUSTOMERS", {"customer": "is bad"})


class Interruption(BaseException):
    """What stops a thread wherever it is."""


class Server:
    """Answers a number with its double, when it is let to; tells what it was asked."""

    def __init__(self) -> None:
        self.alone: list[int] = []
        self.together: list[list[int]] = []
        self.seconds: list[float] = []
        self.refusal: Callable[[Sequence[int]], BaseException | None] = lambda numbers: (
            INVALID if BAD in numbers else None
        )
        self._lock = threading.Lock()
        self._held: deque[threading.Event] = deque()
        self._open = False

    def ask_alone(self, number: int, seconds: float) -> int:
        gate = self._gate()
        self.seconds.append(seconds)
        self.alone.append(number)
        assert gate.wait(PATIENCE_SECONDS)
        if number == BAD:
            raise INVALID
        return 2 * number

    def ask_together(self, numbers: Sequence[int], seconds: float) -> Callable[[int], int]:
        gate = self._gate()
        self.seconds.append(seconds)
        self.together.append(list(numbers))
        assert gate.wait(PATIENCE_SECONDS)
        refusal = self.refusal(numbers)
        if refusal:
            raise refusal
        return lambda place: 2 * numbers[place]

    def let_one_go(self) -> None:
        """The call that came first."""
        with self._lock:
            self._held.popleft().set()

    def let_all_go(self) -> None:
        with self._lock:
            self._open = True
            while self._held:
                self._held.popleft().set()

    def hold(self) -> None:
        """Lets nobody go any more."""
        self._open = False

    def _gate(self) -> threading.Event:
        """What a call waits for."""
        gate = threading.Event()
        with self._lock:
            if self._open:
                gate.set()
            else:
                self._held.append(gate)
        return gate


class Callers:
    """Threads that ask a server through one coalescer."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.coalescer: Coalescer[int, int] = Coalescer(server.ask_alone, server.ask_together)
        self._threads = ThreadPoolExecutor(256)

    def ask(self, number: int, deadline: float = PATIENCE_SECONDS) -> Future[int]:
        """Asks; comes back when the call is out, or waits behind all that asked before."""
        before = self._arrived()
        asked = self._threads.submit(self.coalescer.ask, number, deadline)
        eventually(lambda: asked.done() or self._arrived() > before, "the call to arrive")
        return asked

    def occupy(self) -> list[Future[int]]:
        """As many calls as may be out."""
        return [self.ask(1000 + at) for at in range(IN_FLIGHT)]

    def send_next(self) -> None:
        """Lets the oldest call come back; comes back when the next is out for it."""
        asked = len(self.server.alone), len(self.server.together)
        self.server.let_one_go()
        eventually(lambda: (len(self.server.alone), len(self.server.together)) != asked, "those who wait to be sent")

    def send_those_who_wait(self) -> None:
        """A table in the place of each call that is out, and then lets all go."""
        for _ in range(IN_FLIGHT):
            self.send_next()
        self.server.let_all_go()

    def finish(self) -> None:
        self.server.let_all_go()
        self._threads.shutdown()

    def _arrived(self) -> int:
        server = self.server
        return len(server.alone) + sum(map(len, server.together)) + len(self.coalescer._waiting)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def callers(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callers]:
    monkeypatch.setattr(coalescing, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    callers = Callers(server)
    yield callers
    callers.finish()


def results(asked: Sequence[Future[int]]) -> list[int]:
    return [one.result(PATIENCE_SECONDS) for one in asked]


def error_of(asked: Future[int]) -> CallError:
    with pytest.raises(CallError) as failed:
        asked.result(PATIENCE_SECONDS)
    return failed.value


def test_few_calls_are_sent_at_once_and_alone(callers: Callers, server: Server) -> None:
    asked = callers.occupy()
    assert len(server.alone) == IN_FLIGHT
    server.let_all_go()
    assert results(asked) == [2000, 2002]
    assert (server.together, list(callers.coalescer._out)) == ([], [])


def test_who_waits_goes_together_when_one_is_back_and_gets_his_own_answer(callers: Callers, server: Server) -> None:
    callers.occupy()
    waiting = [callers.ask(number) for number in range(30)]
    assert (len(server.alone), server.together) == (IN_FLIGHT, [])
    callers.send_those_who_wait()
    assert server.together == [list(range(16)), list(range(16, 30))]
    assert results(waiting) == [2 * number for number in range(30)]
    assert len(server.alone) == IN_FLIGHT


def test_tables_of_one_size_go_in_turns(callers: Callers, server: Server) -> None:
    callers.occupy()
    asked = [callers.ask(number) for number in range(9)]
    callers.send_next()
    assert server.together == [[0, 1, 2, 3, 4]]
    callers.send_next()
    assert server.together[1:] == [[5, 6, 7, 8]]
    # As many come again as are in the table that comes back: all of them are the next.
    asked += [callers.ask(number) for number in range(9, 14)]
    callers.send_next()
    assert server.together[2:] == [[9, 10, 11, 12, 13]]
    asked += [callers.ask(number) for number in range(14, 18)]
    callers.send_next()
    assert server.together[3:] == [[14, 15, 16, 17]]
    server.let_all_go()
    assert results(asked) == [2 * number for number in range(18)]
    assert len(server.alone) == IN_FLIGHT


@pytest.mark.parametrize("number", [1, 2, 3, 8, 97, 2 * MOST + 20])
def test_nobody_who_waits_is_forgotten(callers: Callers, server: Server, number: int) -> None:
    out = callers.occupy()
    waiting = [callers.ask(question, PATIENCE_SECONDS + question % 3) for question in range(number)]
    server.let_all_go()
    assert results(waiting) == [2 * question for question in range(number)]
    assert Counter(server.alone[IN_FLIGHT:]) + Counter(chain(*server.together)) == Counter(range(number))
    share = math.ceil((number + IN_FLIGHT) / IN_FLIGHT)
    assert max(map(len, server.together), default=1) <= min(share, MOST)
    results(out)
    assert (list(callers.coalescer._out), list(callers.coalescer._waiting)) == ([], [])


def test_a_caller_is_not_kept_for_those_who_wait(callers: Callers, server: Server) -> None:
    out = callers.occupy()
    callers.ask(1)
    server.let_one_go()
    eventually(lambda: any(one.done() for one in out), "the caller whose call is back")
    assert server.alone[IN_FLIGHT:] == [1]


def test_a_table_holds_no_more_than_so_many(callers: Callers, server: Server) -> None:
    callers.occupy()
    waiting = [callers.ask(number) for number in range(2 * MOST + 20)]
    callers.send_those_who_wait()
    assert results(waiting) == [2 * number for number in range(2 * MOST + 20)]
    assert max(map(len, server.together)) == MOST


def test_only_those_with_the_same_deadline_go_together(callers: Callers, server: Server) -> None:
    callers.occupy()
    waiting = [callers.ask(number, PATIENCE_SECONDS + number % 2) for number in range(8)]
    callers.send_those_who_wait()
    assert results(waiting) == [2 * number for number in range(8)]
    assert server.together == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_the_wait_counts(callers: Callers, server: Server) -> None:
    callers.occupy()
    waiting = [callers.ask(number) for number in range(3)]
    callers.send_those_who_wait()
    results(waiting)
    assert max(server.seconds) <= PATIENCE_SECONDS
    assert server.seconds[-1] < min(server.seconds[:IN_FLIGHT])


def test_one_whom_the_server_refuses_hurts_nobody_else(callers: Callers, server: Server) -> None:
    callers.occupy()
    waiting = [callers.ask(number) for number in (1, BAD, 3, 4)]
    callers.send_those_who_wait()
    assert results([waiting[0], *waiting[2:]]) == [2, 6, 8]
    error = error_of(waiting[1])
    assert (error.reason, error.violations) == (INVALID.reason, INVALID.violations)
    assert server.together == [[1, BAD, 3]]
    assert sorted(server.alone[IN_FLIGHT:]) == [BAD, 1, 3, 4]


@pytest.mark.parametrize(
    "refusal",
    [
        CallError(grpc.StatusCode.INTERNAL, "a score is not finite", "INTERNAL", {}),
        CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "too near for a table", "DEADLINE_EXCEEDED", {}),
        CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "the message is too large", "", {}),
        TypeError("a number to one, a text to another"),
    ],
    ids=str,
)
def test_what_may_be_due_to_the_table_is_asked_again_by_each(
    callers: Callers, server: Server, refusal: Exception
) -> None:
    server.refusal = lambda numbers: refusal
    callers.occupy()
    waiting = [callers.ask(number) for number in range(4)]
    callers.send_those_who_wait()
    assert results(waiting) == [0, 2, 4, 6]
    assert server.together == [[0, 1, 2]]
    assert sorted(server.alone[IN_FLIGHT:]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("code", "reason"), [(grpc.StatusCode.UNAVAILABLE, ""), (grpc.StatusCode.RESOURCE_EXHAUSTED, "SATURATED")]
)
def test_what_the_server_cannot_do_now_every_caller_is_told(
    callers: Callers, server: Server, code: grpc.StatusCode, reason: str
) -> None:
    server.refusal = lambda numbers: CallError(code, "not now", reason, {})
    callers.occupy()
    *together, alone = [callers.ask(number) for number in range(4)]
    callers.send_those_who_wait()
    errors = [error_of(one) for one in together]
    assert [(error.code, error.message, error.reason) for error in errors] == [(code, "not now", reason)] * 3
    assert len({id(error) for error in errors}) == 3
    assert alone.result(PATIENCE_SECONDS) == 6
    assert server.alone[IN_FLIGHT:] == [3]


def test_the_number_that_a_server_takes_is_learnt(callers: Callers, server: Server) -> None:
    too_many = CallError(grpc.StatusCode.INVALID_ARGUMENT, "", "INVALID_CUSTOMERS", {"customers.ids": "at most 8"})
    server.refusal = lambda numbers: too_many if len(numbers) > 8 else None
    callers.occupy()
    waiting = [callers.ask(number) for number in range(17)]
    callers.send_those_who_wait()
    assert results(waiting) == [2 * number for number in range(17)]
    assert server.together == [list(range(9)), list(range(9, 17))]
    server.hold()
    callers.occupy()
    waiting = [callers.ask(number) for number in range(12)]
    callers.send_those_who_wait()
    assert results(waiting) == [2 * number for number in range(12)]
    assert server.together[2:4] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_table_that_was_too_large_once_is_tried_again(callers: Callers, server: Server) -> None:
    too_large = CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "", "", {})
    server.refusal = lambda numbers: too_large if len(numbers) > 8 else None
    callers.occupy()
    waiting = [callers.ask(number) for number in range(17)]
    callers.send_those_who_wait()
    assert results(waiting) == [2 * number for number in range(17)]
    server.refusal = lambda _numbers: None
    server.together.clear()
    sizes = []
    for _ in range(8):
        server.hold()
        callers.occupy()
        waiting = [callers.ask(number) for number in range(17)]
        callers.send_those_who_wait()
        assert results(waiting) == [2 * number for number in range(17)]
        sizes.append(max(map(len, server.together)))
        server.together.clear()
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_calls_that_hang_hold_nobody_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalescing, "PATIENCE_SECONDS", 0.001)
    callers = Callers(server)
    hung = callers.occupy()
    late = [threading.Thread(target=callers.coalescer.ask, args=(number, PATIENCE_SECONDS)) for number in range(9)]
    for thread in late:
        thread.start()
    eventually(lambda: {*server.alone, *chain(*server.together)} >= set(range(9)), "all of the others to be sent")
    assert not any(one.done() for one in hung)
    assert len(callers.coalescer._out) == IN_FLIGHT
    callers.finish()
    for thread in late:
        thread.join(PATIENCE_SECONDS)
    assert results(hung) == [2000, 2002]
    assert not callers.coalescer._out


def test_closing_ends_those_who_wait(callers: Callers, server: Server) -> None:
    out = callers.occupy()
    waiting = [callers.ask(number) for number in range(3)]
    callers.coalescer.close()
    assert [error_of(one).code for one in waiting] == [grpc.StatusCode.CANCELLED] * 3
    server.let_all_go()
    assert results(out) == [2000, 2002]
    assert (len(server.alone), server.together) == (IN_FLIGHT, [])


def test_a_leader_who_is_interrupted_leaves_the_others_to_themselves(callers: Callers, server: Server) -> None:
    server.refusal = lambda numbers: Interruption()
    out = callers.occupy()
    waiting = [callers.ask(number) for number in range(4)]
    callers.send_those_who_wait()
    assert isinstance(waiting[0].exception(PATIENCE_SECONDS), Interruption)
    assert results(waiting[1:]) == [2, 4, 6]
    results(out)
    assert server.together == [[0, 1, 2]]
    assert not callers.coalescer._out


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Stops the main thread, where it waits."""

    def stop(*_: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGUSR1, stop)
    yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def test_who_is_interrupted_while_he_waits_is_handed_no_lead(
    callers: Callers, server: Server, interrupt: Callable[[], None]
) -> None:
    out = callers.occupy()
    waiting = callers.coalescer._waiting

    def interrupt_who_waits() -> None:
        eventually(lambda: len(waiting) == 1, "the call to wait")
        interrupt()

    interrupter = threading.Thread(target=interrupt_who_waits)
    interrupter.start()
    with pytest.raises(Interruption):
        callers.coalescer.ask(0, PATIENCE_SECONDS)
    interrupter.join(PATIENCE_SECONDS)
    late = callers.ask(1)
    callers.send_next()
    assert server.alone[IN_FLIGHT:] == [1]
    server.let_all_go()
    assert results([*out, late]) == [2000, 2002, 2]
    assert not callers.coalescer._out


def test_who_is_interrupted_when_he_is_handed_the_lead_hands_it_on(callers: Callers, server: Server) -> None:
    callers.occupy()
    waiting = callers.ask(1)
    callers.coalescer._leave(callers.coalescer._out[0])
    eventually(lambda: server.alone[IN_FLIGHT:] == [1], "the next to be sent")
    server.let_all_go()
    assert waiting.result(PATIENCE_SECONDS) == 2


def test_a_follower_whom_nobody_releases_waits_no_longer_than_his_deadline(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalescing, "PATIENCE_SECONDS", 0.001)
    callers = Callers(server)
    follower = coalescing._Call[int, int](1, 0.0, 0.0)
    waits = threading.Thread(target=callers.coalescer._wait, args=(follower,), daemon=True)
    waits.start()
    waits.join(PATIENCE_SECONDS)
    assert not waits.is_alive()
    assert not follower.leads
    callers.finish()


def test_a_crowd_gets_its_own_answers(server: Server) -> None:
    callers = Callers(server)
    server.let_all_go()

    def work(caller: int) -> list[int]:
        return [callers.coalescer.ask(100 * caller + at, PATIENCE_SECONDS) for at in range(100)]

    with ThreadPoolExecutor(64) as threads:
        for caller, answers in enumerate(threads.map(work, range(64))):
            assert answers == [2 * (100 * caller + at) for at in range(100)]
    asked = Counter(server.alone) + Counter(number for numbers in server.together for number in numbers)
    assert asked == Counter(range(6400))
    assert (list(callers.coalescer._out), list(callers.coalescer._waiting)) == ([], [])
    callers.finish()
