from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import REGISTRY

from services.core.admission import Gate, Lane
from services.core.endpoints import Endpoints, Lanes
from services.core.errors import INVALID, Refusal
from services.core.inline import InlineServer
from services.core.metrics import LaneMetrics
from services.core.waiting import Patience
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVICE = "regulars.test.v1.Echo"
SECRET = "the customer's own words"
MALFORMED_BYTES = b"\xff\xff\xff\xff"


class PanicError(BaseException):
    """What extensions written in other languages raise past every `except Exception`."""


FAILURES: dict[str, Callable[[], BaseException]] = {
    "fail": lambda: ValueError(SECRET),
    "panic": lambda: PanicError(SECRET),
    "exit": lambda: SystemExit(SECRET),
    "memory": lambda: MemoryError(SECRET),
    "recursion": lambda: RecursionError(SECRET),
    "refuse": lambda: Refusal(INVALID),
}


class Echo:
    """A servicer whose calls answer, fail, refuse, or stay until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.contexts: list[grpc.ServicerContext] = []

    def unary(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        self.contexts.append(context)
        return self._answer(request, context)

    def stream(self, requests: Iterator[StringValue], context: grpc.ServicerContext) -> Iterator[StringValue]:
        self.contexts.append(context)
        for request in requests:
            yield self._answer(request, context)

    def _answer(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        if request.value in FAILURES:
            error = FAILURES[request.value]()
            raise error
        match request.value:
            case "abort":
                context.abort(grpc.StatusCode.DATA_LOSS, SECRET)
            case "stay":
                self.entered.release()
                assert self.let_go.wait(PATIENCE_SECONDS)
        return StringValue(value=request.value)


def serialise(answer: StringValue) -> bytes:
    if answer.value == "unspeakable":
        raise ValueError(SECRET)
    return answer.SerializeToString()


class EchoServer:
    """A real server on a free port, with lanes of one place."""

    def __init__(
        self, *, inline: bool, idle_seconds: float = PATIENCE_SECONDS, message_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self.echo = Echo()
        self.gate = Gate()
        self.patience = Patience(message_seconds)
        self.server = InlineServer(self.patience, None, []) if inline else grpc.server(ThreadPoolExecutor(1))
        lanes = Lanes(
            interactive=Lane(1, 1, self.gate, LaneMetrics("test unary")),
            batch=Lane(1, 1, self.gate, LaneMetrics("test batch")),
            bulk=Lane(1, 1, self.gate, LaneMetrics("test stream")),
        )
        unary = grpc.unary_unary_rpc_method_handler(self.echo.unary, StringValue.FromString, serialise)
        stream = grpc.stream_stream_rpc_method_handler(self.echo.stream, StringValue.FromString, serialise)
        endpoints = Endpoints(self.server, lanes, self.patience, idle_seconds=idle_seconds)
        endpoints.add_registered_method_handlers(SERVICE, {"Unary": unary, "BatchUnary": unary, "Stream": stream})
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)])
        self.unary = self.channel.unary_unary(f"/{SERVICE}/Unary", lambda text: text, StringValue.FromString)
        self.batch = self.channel.unary_unary(f"/{SERVICE}/BatchUnary", lambda text: text, StringValue.FromString)
        self.stream = self.channel.stream_stream(f"/{SERVICE}/Stream", lambda text: text, StringValue.FromString)

    def close(self) -> None:
        self.echo.let_go.set()
        self.channel.close()
        self.server.stop(None).wait()


@pytest.fixture(params=[True, False], ids=["inline", "in threads"])
def inline(request: pytest.FixtureRequest) -> bool:
    """How unary calls are taken: with a gRPC that is known, and with any other."""
    way: bool = request.param
    return way


@pytest.fixture
def served(request: pytest.FixtureRequest, inline: bool) -> Iterator[EchoServer]:
    """Parametrised indirectly, by what an EchoServer is made with."""
    server = EchoServer(inline=inline, **getattr(request, "param", {}))
    yield server
    server.close()


def say(text: str) -> bytes:
    return StringValue(value=text).SerializeToString()


def details(error: grpc.RpcError) -> dict[str, Any]:
    """What the trailers of a failed call hold."""
    assert isinstance(error, grpc.Call)
    return {entry.key: entry.value for entry in error.trailing_metadata()}


def reason(error: grpc.RpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(details(error)["grpc-status-details-bin"]).details[0].Unpack(info)
    answer: str = info.reason
    return answer


def ended(error: grpc.RpcError) -> tuple[str, str]:
    assert isinstance(error, grpc.Call)
    return error.code().name, error.details() or ""


def test_an_answer_passes(served: EchoServer) -> None:
    assert served.unary(say("hello")).value == "hello"
    assert [answer.value for answer in served.stream(iter([say("a"), say("b")]))] == ["a", "b"]


def fails(served: EchoServer, method: str, request: bytes) -> grpc.RpcError:
    calls: dict[str, Callable[[], object]] = {
        "Unary": lambda: served.unary(request),
        "Stream": lambda: list(served.stream(iter([say("hello"), request]))),
    }
    with pytest.raises(grpc.RpcError) as failure:
        calls[method]()
    return failure.value


@pytest.mark.parametrize("method", ["Unary", "Stream"])
@pytest.mark.parametrize(
    ("request_", "code", "why"),
    [
        *[(say(word), "INTERNAL", "INTERNAL") for word in FAILURES if word != "refuse"],
        (say("abort"), "INTERNAL", "INTERNAL"),
        (say("unspeakable"), "INTERNAL", "INTERNAL"),
        (say("refuse"), "INVALID_ARGUMENT", "INVALID_CUSTOMERS"),
        (MALFORMED_BYTES, "INTERNAL", "MALFORMED_MESSAGE"),
    ],
)
def test_a_failure_is_an_answer_of_the_table_and_the_server_serves_on(
    served: EchoServer, method: str, request_: bytes, code: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            error = fails(served, method, request_)
            assert ended(error)[0] == code
            assert reason(error) == why
            assert SECRET not in str(details(error)) + ended(error)[1]
    # gRPC itself logs the text of exceptions that reach it.
    assert SECRET not in "".join(record.getMessage() for record in caplog.records)
    assert served.unary(say("hello")).value == "hello"
    assert len(list(served.stream(iter([say("hello")])))) == 1


class OpenStream:
    """A stream whose requests are sent one by one."""

    def __init__(self, served: EchoServer) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.call = served.stream(iter(self._requests.get, None))

    def send(self, text: str) -> None:
        self._requests.put(say(text))

    def ask(self, text: str) -> str:
        self.send(text)
        answer: str = next(self.call).value
        return answer

    def end(self) -> None:
        self._requests.put(None)


def test_a_call_that_ends_without_a_message_is_malformed(served: EchoServer) -> None:
    call = served.channel.stream_unary(f"/{SERVICE}/Unary", bytes, bytes)
    with pytest.raises(grpc.RpcError) as failure:
        call(iter([]))
    assert (ended(failure.value)[0], reason(failure.value)) == ("INTERNAL", "MALFORMED_MESSAGE")
    assert list(served.stream(iter([]))) == []


@pytest.mark.parametrize("served", [{"message_seconds": 0.0}], indirect=True)
def test_a_call_whose_message_does_not_come_is_ended_and_gives_its_place_back(served: EchoServer) -> None:
    silent = served.channel.stream_unary(f"/{SERVICE}/Unary", bytes, bytes).future(
        iter(queue.SimpleQueue[bytes]().get, None)
    )
    eventually(lambda: in_flight("test unary") == 1, "the call")

    def ended_by_looking() -> bool:
        # The call takes its place a moment before it begins to wait.
        served.patience.look()
        return silent.done()

    eventually(ended_by_looking, "the end of the call")
    assert silent.code() is grpc.StatusCode.CANCELLED
    eventually(lambda: in_flight("test unary") == 0, "its place")
    assert served.unary(say("hello")).value == "hello"


def test_patience_lasts_for_its_seconds_and_leaves_those_alone_whose_message_came(served: EchoServer) -> None:
    staying = served.unary.future(say("stay"))
    silent = served.channel.stream_unary(f"/{SERVICE}/BatchUnary", bytes, bytes).future(
        iter(queue.SimpleQueue[bytes]().get, None)
    )
    served.echo.entered.acquire()
    eventually(lambda: in_flight("test batch") == 1, "the silent call")
    served.patience.look()
    assert not silent.done()
    served.echo.let_go.set()
    assert staying.result().value == "stay"
    silent.cancel()


def test_a_full_lane_refuses_with_pushback_and_the_other_lane_stays_open(served: EchoServer) -> None:
    staying = served.unary.future(say("stay"))
    served.echo.entered.acquire()
    with pytest.raises(grpc.RpcError) as failure:
        served.unary(say("hello"))
    assert ended(failure.value)[0] == "RESOURCE_EXHAUSTED"
    assert 50 <= int(details(failure.value)["grpc-retry-pushback-ms"]) <= 150
    stream = OpenStream(served)
    assert stream.ask("hello") == "hello"
    with pytest.raises(grpc.RpcError) as failure:
        list(served.stream(iter([say("hello")])))
    assert reason(failure.value) == "SATURATED"
    served.echo.let_go.set()
    assert staying.result().value == "stay"
    stream.end()
    assert list(stream.call) == []
    assert served.unary(say("hello")).value == "hello"


def test_after_the_gate_closed_new_calls_and_new_messages_are_refused(served: EchoServer) -> None:
    stream = OpenStream(served)
    assert stream.ask("before") == "before"
    served.gate.close()
    for call in (
        lambda: served.unary(say("hello")),
        lambda: served.batch(say("hello")),
        lambda: list(served.stream(iter([]))),
        lambda: stream.ask("the next message of an open stream"),
    ):
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert ended(failure.value)[0] == "UNAVAILABLE"
        assert reason(failure.value) == "DRAINING"


def test_a_call_for_a_table_stands_in_a_lane_of_its_own(served: EchoServer) -> None:
    staying = served.batch.future(say("stay"))
    served.echo.entered.acquire()
    assert (in_flight("test batch"), in_flight("test unary")) == (1, 0)
    with pytest.raises(grpc.RpcError) as failure:
        served.batch(say("hello"))
    assert reason(failure.value) == "SATURATED"
    assert served.unary(say("hello")).value == "hello"
    served.echo.let_go.set()
    assert staying.result().value == "stay"


def test_of_a_refused_call_nothing_is_read(served: EchoServer) -> None:
    staying = served.unary.future(say("stay"))
    served.echo.entered.acquire()
    for _ in range(3):
        with pytest.raises(grpc.RpcError) as failure:
            served.channel.stream_unary(f"/{SERVICE}/Unary", bytes, bytes)(
                iter(queue.SimpleQueue[bytes]().get, None), timeout=PATIENCE_SECONDS
            )
        assert reason(failure.value) == "SATURATED"
    assert len(served.echo.contexts) == 1
    served.echo.let_go.set()
    staying.result()


def messages_threads() -> int:
    return sum(thread.name == "messages" for thread in threading.enumerate())


def test_a_gate_that_closes_ends_streams_on_which_nothing_moves(served: EchoServer) -> None:
    stream = OpenStream(served)
    assert stream.ask("hello") == "hello"
    served.gate.close()
    with pytest.raises(grpc.RpcError) as failure:
        next(stream.call)
    assert (ended(failure.value)[0], reason(failure.value)) == ("UNAVAILABLE", "DRAINING")
    eventually(lambda: in_flight("test stream") == 0, "its place")
    eventually(lambda: messages_threads() == 0, "its thread")


def test_a_message_that_is_being_answered_when_the_gate_closes_is_answered(served: EchoServer) -> None:
    stream = OpenStream(served)
    stream.send("stay")
    served.echo.entered.acquire()
    served.gate.close()
    served.echo.let_go.set()
    assert next(stream.call).value == "stay"
    with pytest.raises(grpc.RpcError) as failure:
        next(stream.call)
    assert reason(failure.value) == "DRAINING"


@pytest.mark.parametrize("served", [{"idle_seconds": 0.1}], indirect=True)
def test_a_stream_whose_caller_sends_nothing_is_ended(served: EchoServer) -> None:
    stream = OpenStream(served)
    assert stream.ask("hello") == "hello"
    with pytest.raises(grpc.RpcError) as failure:
        next(stream.call)
    assert (ended(failure.value)[0], reason(failure.value)) == ("UNAVAILABLE", "STREAM_IDLE")
    eventually(lambda: in_flight("test stream") == 0, "its place")
    eventually(lambda: messages_threads() == 0, "its thread")


@pytest.mark.parametrize("served", [{"idle_seconds": 0.1}], indirect=True)
def test_a_stream_whose_caller_takes_no_answers_is_ended(served: EchoServer) -> None:
    cancelled = handled("Stream", "Canceled")
    large = say("x" * 1_000_000)
    call = served.stream(iter([large] * 100))
    eventually(lambda: handled("Stream", "Canceled") == cancelled + 1, "the end of the stream")
    eventually(lambda: in_flight("test stream") == 0, "its place")
    eventually(lambda: messages_threads() == 0, "its thread")
    with pytest.raises(grpc.RpcError) as failure:
        list(call)
    assert ended(failure.value)[0] == "CANCELLED"


@pytest.mark.parametrize("served", [{"idle_seconds": 0.2}], indirect=True)
def test_a_stream_that_moves_lasts_longer_than_it_may_stand_still(served: EchoServer) -> None:
    stream = OpenStream(served)
    started = time.monotonic()
    while time.monotonic() - started < 0.5:
        assert stream.ask("hello") == "hello"
        time.sleep(0.01)
    stream.end()
    assert list(stream.call) == []
    eventually(lambda: messages_threads() == 0, "its thread")


@pytest.mark.parametrize("word", ["fail", "panic", "unspeakable"])
def test_a_stream_that_fails_leaves_no_thread_behind(served: EchoServer, word: str) -> None:
    stream = OpenStream(served)
    stream.ask("hello")
    with pytest.raises(grpc.RpcError):
        stream.ask(word)
    eventually(lambda: messages_threads() == 0, "its thread")
    eventually(lambda: in_flight("test stream") == 0, "its place")


def handled(method: str, code: str) -> float:
    kind = "unary" if method == "Unary" else "bidi_stream"
    labels = {"grpc_type": kind, "grpc_service": SERVICE, "grpc_method": method, "grpc_code": code}
    return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0


def in_flight(lane: str) -> float:
    return REGISTRY.get_sample_value("regulars_calls_in_flight", {"lane": lane}) or 0.0


def test_a_caller_that_goes_gives_its_place_back_and_is_counted(served: EchoServer) -> None:
    def ends() -> float:
        # Of a caller that goes, gRPC may tell the end of his messages before it tells that he has gone.
        return handled("Stream", "Canceled") + handled("Stream", "OK")

    before = ends()
    stream = OpenStream(served)
    stream.ask("hello")
    assert in_flight("test stream") == 1
    stream.call.cancel()
    eventually(lambda: in_flight("test stream") == 0, "the place of the cancelled stream")
    eventually(lambda: ends() == before + 1, "its count")
    assert len(list(served.stream(iter([say("hello")])))) == 1


@pytest.mark.parametrize("code", ["DeadlineExceeded", "Canceled"])
def test_a_call_that_nobody_waits_for_any_more_is_counted_as_such(served: EchoServer, code: str) -> None:
    before = handled("Unary", code)
    staying = served.unary.future(say("stay"), timeout=1.0 if code == "DeadlineExceeded" else None)
    assert served.echo.entered.acquire(timeout=PATIENCE_SECONDS)
    if code == "Canceled":
        staying.cancel()
    with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
        staying.result()
    # The server learns of it in its own time, and must have before the call may end. Its clock for the deadline began
    # when the call came, and so ends after the caller's.
    context = served.echo.contexts[-1]
    eventually(lambda: not context.is_active(), "the server to learn of it")
    if code == "DeadlineExceeded":
        eventually(lambda: context.time_remaining() <= 0, "the server's own clock")
    served.echo.let_go.set()
    eventually(lambda: handled("Unary", code) == before + 1, "the count of the call")
    assert in_flight("test unary") == 0


def test_counts_have_the_names_and_labels_that_dashboards_know(served: EchoServer) -> None:
    def sample(name: str) -> float:
        labels = {"grpc_type": "bidi_stream", "grpc_service": SERVICE, "grpc_method": "Stream"}
        return REGISTRY.get_sample_value(name, labels) or 0.0

    names = (
        "grpc_server_started_total",
        "grpc_server_msg_received_total",
        "grpc_server_msg_sent_total",
        "grpc_server_handling_seconds_count",
    )
    before, ok = {name: sample(name) for name in names}, handled("Stream", "OK")
    list(served.stream(iter([say("a"), say("b"), say("c")])))
    eventually(lambda: handled("Stream", "OK") == ok + 1, "the count of the call")
    assert [sample(name) - before[name] for name in names] == [1, 3, 3, 1]
