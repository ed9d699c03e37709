"""What surrounds every method: admission, errors, metrics. Folded once, when a servicer registers.

A servicer registers itself on `Endpoints` as it would on a `grpc.Server`; each of its handlers is wrapped and passed
on. Wrapping here rather than in a gRPC interceptor costs nothing per call.

A call is admitted on its headers. Whoever is refused has none of the message read, let alone parsed.
Messages are parsed and serialised in here, not by gRPC, which would answer a failure there with a text of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, runtime_checkable

import grpc

from services.core.admission import admitted
from services.core.call_threads import done_ahead
from services.core.errors import CANCELLED, MALFORMED, Refusal, as_refusal, check_alive, gone
from services.core.metrics import MethodMetrics
from services.core.tracing import current_trace
from services.core.waiting import Messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from services.core.admission import Lane
    from services.core.inline import Handle, Together
    from services.core.shadow import Mirror
    from services.core.tracing import Tracer
    from services.core.waiting import Patience

TABLE_METHODS = ("Batch", "ModelInfer")
"""How the names of those begin that take a table in one message."""


@runtime_checkable
class UnaryServer(Protocol):
    """A server that takes unary calls by a way of its own: `services.core.inline.InlineServer`."""

    def add_unary(self, service: str, method: str, handle: Handle, lane: Lane, together: Together | None) -> None: ...


class Ahead(Protocol):
    """What was done for a call before its turn, together with others of its method."""

    @property
    def seconds(self) -> float:
        """The call's share of the time that it took."""

    @property
    def request(self) -> Any:  # noqa: ANN401 - of any method
        """Its message, parsed."""


@dataclass(frozen=True)
class Lanes:
    """Which calls are admitted where: one customer or none, a table, a stream."""

    interactive: Lane
    batch: Lane
    bulk: Lane

    @classmethod
    def all_in(cls, lane: Lane) -> Lanes:
        return cls(lane, lane, lane)

    def of(self, method: str) -> Lane:
        """The lane of a unary method."""
        return self.batch if method.startswith(TABLE_METHODS) else self.interactive

    def are_left_within(self, seconds: float) -> bool:
        """Whether everybody inside leaves in time."""
        deadline = time.monotonic() + seconds
        lanes = (self.interactive, self.batch, self.bulk)
        return all(lane.is_left_within(deadline - time.monotonic()) for lane in lanes)


class Endpoints:
    """Takes the place of the server where a servicer registers."""

    def __init__(
        self,
        server: grpc.Server,
        lanes: Lanes,
        patience: Patience,
        *,
        idle_seconds: float,
        tracer: Tracer | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        """`idle_seconds` is how long a stream may stand still; `mirror` copies calls of the unary methods."""
        self._server = server
        self._lanes = lanes
        self._patience = patience
        self._idle_seconds = idle_seconds
        self._tracer = tracer
        self._mirror = mirror

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Generated code registers twice; the second, `add_registered_method_handlers`, says all."""

    def add_registered_method_handlers(
        self,
        service: str,
        handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]],
        together: Mapping[str, Together] = MappingProxyType({}),
    ) -> None:
        """`together` has, for unary methods, what can be done for several calls at once: each gets its `Ahead`."""
        wrapped = {}
        for name, handler in handlers.items():
            if isinstance(self._server, UnaryServer) and not handler.request_streaming:
                unary = self._unary(service, name, handler)
                self._server.add_unary(service, name, unary, self._lanes.of(name), together.get(name))
            else:
                wrapped[name] = self._wrap(service, name, handler)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrap(self, service: str, name: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:  # noqa: ANN401 - untyped in gRPC
        if handler.request_streaming:
            stream = self._wrap_stream(handler, MethodMetrics("bidi_stream", service, name))
            if self._tracer:
                stream = self._tracer.stream(f"{service}/{name}", self._lanes.bulk.name, stream)
            # gRPC hands calls of the method to these threads.
            stream.experimental_thread_pool = self._lanes.bulk  # type: ignore[attr-defined]  # of a function
            return grpc.stream_stream_rpc_method_handler(stream)
        unary = self._unary(service, name, handler)
        unary.experimental_thread_pool = self._lanes.of(name)  # type: ignore[attr-defined]  # of a function
        # To gRPC, a stream of one: that it hands over on its headers. A unary call would take a thread and hold it
        # until its message came, and headers alone of as many calls as there are threads would stop the server.
        return grpc.stream_unary_rpc_method_handler(unary)

    def _unary(self, service: str, name: str, handler: Any) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]:  # noqa: ANN401 - untyped in gRPC
        unary = self._wrap_unary(handler, MethodMetrics("unary", service, name))
        if self._mirror:
            unary = self._mirror.tap(name, unary)
        if self._tracer:
            unary = self._tracer.unary(f"{service}/{name}", self._lanes.of(name).name, unary)
        return unary

    def _wrap_unary(
        self,
        handler: Any,  # noqa: ANN401 - untyped in gRPC
        metrics: MethodMetrics,
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], bytes]:
        behaviour, parse, serialise = handler.unary_unary, _parser(handler), handler.response_serializer
        receive = self._patience.message

        def handle(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            ahead: Ahead | None = done_ahead()
            started = metrics.start() - (ahead.seconds if ahead else 0.0)
            try:
                with admitted():
                    message = receive(requests, context)
                    request = ahead.request if ahead else parse(message)
                    metrics.received.inc()
                    response: bytes = serialise(behaviour(request, context))
                    check_alive(context)
            except BaseException as error:  # noqa: BLE001 - the boundary: every exception becomes an answer
                _refuse(error, context, metrics, started)
            metrics.finish(started, grpc.StatusCode.OK)
            metrics.sent.inc()
            return response

        return handle

    def _wrap_stream(
        self,
        handler: Any,  # noqa: ANN401 - untyped in gRPC
        metrics: MethodMetrics,
    ) -> Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]:
        behaviour, parse, serialise = handler.stream_stream, _parser(handler), handler.response_serializer
        gate, idle_seconds = self._lanes.bulk.gate, self._idle_seconds

        def parsed(messages: Iterator[bytes]) -> Iterator[Any]:
            for message in messages:
                metrics.received.inc()
                yield parse(message)

        def handle(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            started = metrics.start()
            try:
                with admitted(), Messages(requests, context, gate, idle_seconds).read() as messages:
                    for response in behaviour(parsed(messages), context):
                        data: bytes = serialise(response)
                        metrics.sent.inc()
                        yield data
                check_alive(context)
            except GeneratorExit:
                # gRPC closes the answers of a caller that has gone.
                metrics.finish(started, (gone(context) or Refusal(CANCELLED)).kind.code)
                raise
            except BaseException as error:  # noqa: BLE001 - the boundary: every exception becomes an answer
                _refuse(error, context, metrics, started)
            metrics.finish(started, grpc.StatusCode.OK)

        return handle


def _refuse(error: BaseException, context: grpc.ServicerContext, metrics: MethodMetrics, started: float) -> NoReturn:
    """Answers an exception.

    A function of its own: in a variable of the frame that failed, the exception would hold that frame, and it the
    exception, and both the request, until the garbage collector comes by.
    """
    # gRPC ends the wait for a message of a caller that has gone with an exception of its own.
    refusal = gone(context) or as_refusal(error)
    trace = current_trace()
    if trace:
        trace.refuse(refusal.kind)
    metrics.finish(started, refusal.kind.code)
    refusal.abort(context)


def _parser(handler: Any) -> Callable[[bytes | None], Any]:  # noqa: ANN401 - untyped in gRPC
    deserialise = handler.request_deserializer

    def parse(data: bytes | None) -> Any:  # noqa: ANN401 - a message of any type
        if data is None:
            raise Refusal(MALFORMED)
        try:
            return deserialise(data)
        except Exception:  # noqa: BLE001 - whatever the parser raises, the bytes are the reason
            raise Refusal(MALFORMED) from None

    return parse
