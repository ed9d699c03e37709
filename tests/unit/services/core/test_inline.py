from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private, untyped
from hypothesis import given
from hypothesis import strategies as st

from services.core.access import Doorkeeper, Role, grant
from services.core.admission import Gate, Lane, admitted
from services.core.call_threads import arrival, done_ahead, taken_up
from services.core.errors import Refusal
from services.core.inline import FIRST_EVENTS, IN_A_ROW, QUICK_SECONDS, SMALL_BYTES, InlineServer, Turns
from services.core.metrics import LaneMetrics
from services.core.server import KNOWN_GRPC
from services.core.waiting import Patience
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SERVICE = "regulars.test.v1.Turns"
TOKEN = "rgl_of_the_shop"
PLACES = 64


class Handler:
    """Answers with what it was asked, and remembers where and with what."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.ahead: list[object] = []
        self.together: list[list[bytes]] = []
        self.began = threading.Semaphore(0)
        self.let_go = threading.Event()

    def handle(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        try:
            place = admitted()
        except Refusal as refusal:
            refusal.abort(context)
        with place:
            message = next(messages)
            self.threads.append(threading.current_thread().name)
            self.ahead.append(done_ahead())
            assert arrival() is not None
            if message == b"wait":
                self.began.release()
                assert self.let_go.wait(PATIENCE_SECONDS)
            if message == b"work":
                until = time.thread_time() + 2 * QUICK_SECONDS
                while time.thread_time() < until:
                    pass
            if message == b"abort":
                context.abort(grpc.StatusCode.DATA_LOSS, "lost")
            if message == b"fail":
                raise ValueError("what nobody is to know")
            return message

    def do_together(self, messages: Sequence[bytes]) -> list[object]:
        self.together.append(list(messages))
        if b"spoil" in messages:
            raise ValueError("what nobody is to know")
        return [b"ahead of " + message for message in messages]


class Served:
    """A real server with two methods: `Alone` and `Together`."""

    def __init__(self, doorkeeper: Doorkeeper | None = None) -> None:
        self.handler = Handler()
        self.gate = Gate()
        self.server = InlineServer(Patience(), doorkeeper, [])
        self.lane = Lane(PLACES, 2, self.gate, LaneMetrics("turns"))
        self.server.add_unary(SERVICE, "Alone", self.handler.handle, self.lane)
        self.server.add_unary(SERVICE, "Together", self.handler.handle, self.lane, self.handler.do_together)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        self.alone: Any = self.channel.unary_unary(f"/{SERVICE}/Alone")
        self.together: Any = self.channel.unary_unary(f"/{SERVICE}/Together")

    def close(self) -> None:
        self.handler.let_go.set()
        self.channel.close()
        self.server.stop(None).wait()

    def in_the_loop(self, message: bytes, method: Callable[[bytes], bytes] | None = None) -> bool:
        """Whether a call is handled there."""
        assert (method or self.alone)(message) == message
        return not self.handler.threads[-1].startswith("turns")

    def at_once(self, messages: Sequence[bytes]) -> list[bytes]:
        """The answers to calls of `Together` that have come while the loop was busy with another."""
        held = self.alone.future(b"wait")
        assert self.handler.began.acquire(timeout=PATIENCE_SECONDS)
        callers = [self.together.future(message) for message in messages]
        # For them to reach the server's socket.
        time.sleep(0.2)
        self.handler.let_go.set()
        assert held.result(PATIENCE_SECONDS) == b"wait"
        return [caller.result(PATIENCE_SECONDS) for caller in callers]


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served()
    yield server
    server.close()


def test_the_grpc_that_is_locked_is_one_that_was_tried() -> None:
    assert grpc.__version__.startswith(KNOWN_GRPC)


def test_a_method_is_handled_in_the_loop_once_it_is_known_to_be_quick(served: Served) -> None:
    assert not served.in_the_loop(b"one")
    assert served.in_the_loop(b"two")
    # The methods are known one by one.
    assert not served.in_the_loop(b"one", served.together)


def test_large_messages_go_to_threads(served: Served) -> None:
    served.in_the_loop(b"known")
    assert served.in_the_loop(bytes(SMALL_BYTES))
    assert not served.in_the_loop(bytes(SMALL_BYTES + 1))


def test_after_a_slow_call_the_next_ones_go_to_threads_for_a_while(served: Served) -> None:
    served.in_the_loop(b"known")
    assert served.in_the_loop(b"work")
    assert not served.in_the_loop(b"quick")
    eventually(lambda: served.in_the_loop(b"quick"), "the loop's turn")


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_whoever_was_slow_last_is_not_quick(seconds: list[float]) -> None:
    server = InlineServer(Patience(), None, [])
    server.add_unary(SERVICE, "Any", lambda _messages, _context: b"", Lane(1, 1, Gate(), LaneMetrics("turns")))
    method = server.methods[0]
    assert not method.is_quick
    for one in seconds:
        method.observe(one, answered=True)
    assert method.is_quick <= (seconds[-1] < QUICK_SECONDS)
    assert method.is_quick >= (max(seconds) < QUICK_SECONDS)
    was_quick = method.is_quick
    method.observe(0.0, answered=False)
    assert method.is_quick == was_quick
    method.observe(QUICK_SECONDS, answered=False)
    assert not method.is_quick


def test_calls_that_wait_together_are_prepared_together(served: Served) -> None:
    served.in_the_loop(b"known")
    served.in_the_loop(b"known", served.together)
    messages = [b"%d" % number for number in range(20)]
    assert served.at_once(messages) == messages
    groups = served.handler.together
    assert groups
    assert all(2 <= len(group) <= IN_A_ROW for group in groups)
    prepared = {message for group in groups for message in group}
    assert {ahead for ahead in served.handler.ahead if ahead} == {b"ahead of " + message for message in prepared}


def test_what_fails_together_is_handled_one_by_one(served: Served) -> None:
    served.in_the_loop(b"known")
    served.in_the_loop(b"known", served.together)
    assert served.at_once([b"spoil"] * 5) == [b"spoil"] * 5
    assert served.handler.together
    assert not any(served.handler.ahead)


class Event:
    def __init__(self, completion_type: object) -> None:
        self.completion_type = completion_type


class Turn:
    """A call that is ready, and remembers after how many events its turn came."""

    method = None
    message = None

    def __init__(self, turns: list[str]) -> None:
        self._turns = turns

    def take_turn(self) -> None:
        self._turns.append("turn")


def test_a_flood_of_events_does_not_keep_a_call_from_its_turn() -> None:
    came: list[str] = []
    turns = Turns()
    turns.put(cast("Any", Turn(came)))

    def poll(_deadline: float | None) -> Event:
        came.append("event")
        return Event(None)

    for _ in range(2 * FIRST_EVENTS):
        turns.next(poll, None)
    assert came.index("turn") == FIRST_EVENTS


def test_what_has_come_goes_before_a_turn() -> None:
    came: list[str] = []
    turns = Turns()
    turns.put(cast("Any", Turn(came)))
    events = [Event(None), Event(cygrpc.CompletionType.queue_timeout), Event(None)]

    def poll(_deadline: float | None) -> Event:
        came.append("look")
        return events.pop(0)

    assert turns.next(poll, None).completion_type is None
    assert turns.next(poll, None).completion_type is None
    assert came == ["look", "look", "turn", "look"]


def test_nothing_is_kept_of_a_call_that_has_ended() -> None:
    with taken_up(1.0, b"ahead"):
        assert (arrival(), done_ahead()) == (1.0, b"ahead")
    assert (arrival(), done_ahead()) == (None, None)


def test_a_call_that_comes_alone_is_not_prepared(served: Served) -> None:
    for number in range(3):
        served.together(b"%d" % number)
    assert served.handler.together == []
    assert served.handler.ahead == [None] * 3


@pytest.mark.parametrize(("message", "code"), [(b"abort", "DATA_LOSS"), (b"fail", "INTERNAL")])
def test_failures_in_the_loop_end_the_call_and_not_the_loop(served: Served, message: bytes, code: str) -> None:
    served.in_the_loop(b"known")
    with pytest.raises(grpc.RpcError) as failure:
        served.alone(message)
    assert failure.value.code().name == code
    assert "nobody" not in (failure.value.details() or "")
    assert served.in_the_loop(b"and on")


def test_strangers_take_no_place_and_are_not_handled() -> None:
    doorkeeper = Doorkeeper(lambda: (grant("shop", Role.SCORE, TOKEN),), {SERVICE: Role.SCORE}, open_to_all=())
    served = Served(doorkeeper)
    taken = [served.lane.admit() for _ in range(PLACES)]
    assert not any(isinstance(one, Refusal) for one in taken)
    with pytest.raises(grpc.RpcError) as failure:
        served.alone(b"let me in")
    assert failure.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as failure:
        served.alone(b"let me in", metadata=(("authorization", f"Bearer {TOKEN}"),))
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.handler.threads == []
    served.close()


def test_calls_of_whoever_hangs_up_give_their_places_back(served: Served) -> None:
    callers = [served.alone.future(b"wait") for _ in range(PLACES)]
    assert served.handler.began.acquire(timeout=PATIENCE_SECONDS)
    for caller in callers:
        caller.cancel()
    served.handler.let_go.set()
    eventually(lambda: served.in_the_loop(b"next") or None, "a call in the loop")
    assert served.lane.is_left_within(PATIENCE_SECONDS)


def test_a_server_that_stops_waits_for_its_calls(served: Served) -> None:
    caller = served.alone.future(b"wait")
    assert served.handler.began.acquire(timeout=PATIENCE_SECONDS)
    stopped = served.server.stop(PATIENCE_SECONDS)
    assert not stopped.wait(0.1)
    served.handler.let_go.set()
    assert caller.result(PATIENCE_SECONDS) == b"wait"
    assert stopped.wait(PATIENCE_SECONDS)


def test_a_server_that_stops_at_once_gives_its_calls_up(served: Served) -> None:
    caller = served.alone.future(b"wait")
    assert served.handler.began.acquire(timeout=PATIENCE_SECONDS)
    assert served.server.stop(None).wait(PATIENCE_SECONDS)
    assert caller.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


def test_a_server_that_stops_at_once_keeps_no_place(served: Served) -> None:
    served.in_the_loop(b"known")
    callers = [served.alone.future(b"work") for _ in range(PLACES // 2)]
    assert served.server.stop(None).wait(PATIENCE_SECONDS)
    for caller in callers:
        caller.cancel()
    assert served.lane.is_left_within(PATIENCE_SECONDS)
