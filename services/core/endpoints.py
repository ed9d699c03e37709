"""What surrounds every method: admission, errors, metrics. Folded once, when a servicer registers.

A servicer registers itself on `Endpoints` as it would on a `grpc.Server`; each of its handlers is wrapped and passed
on. Wrapping here rather than in a gRPC interceptor costs nothing per call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from services.core.errors import CANCELLED, MALFORMED, Refusal, as_refusal, check_alive, gone
from services.core.metrics import MethodMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from services.core.admission import Lane

_MALFORMED = object()
"""What a deserialiser gives for bytes that are no message: an exception there would leak its text."""


class Endpoints:
    """Takes the place of the server where a servicer registers."""

    def __init__(self, server: grpc.Server, interactive: Lane, bulk: Lane) -> None:
        self._server = server
        self._interactive = interactive
        self._bulk = bulk

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Generated code registers twice; the second, `add_registered_method_handlers`, says all."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        wrapped = {name: self._wrap(service, name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrap(self, service: str, name: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:  # noqa: ANN401 - untyped in gRPC
        deserialise = _guarded(handler.request_deserializer)
        if handler.request_streaming:
            metrics = MethodMetrics("bidi_stream", service, name)
            stream = _wrap_stream(handler.stream_stream, self._bulk, metrics)
            return grpc.stream_stream_rpc_method_handler(stream, deserialise, handler.response_serializer)
        metrics = MethodMetrics("unary", service, name)
        unary = _wrap_unary(handler.unary_unary, self._interactive, metrics)
        return grpc.unary_unary_rpc_method_handler(unary, deserialise, handler.response_serializer)


def _guarded(deserialise: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def guarded(data: bytes) -> Any:  # noqa: ANN401 - a message of any type
        try:
            return deserialise(data)
        except Exception:  # noqa: BLE001 - whatever the parser raises, the bytes are the reason
            return _MALFORMED

    return guarded


def _wellformed(request: Any) -> Any:  # noqa: ANN401 - a message of any type
    if request is _MALFORMED:
        raise Refusal(MALFORMED)
    return request


def _wrap_unary(
    behaviour: Callable[[Any, grpc.ServicerContext], Any], lane: Lane, metrics: MethodMetrics
) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - messages of any type
        started = metrics.start()
        metrics.received.inc()
        try:
            with lane.admit():
                response = behaviour(_wellformed(request), context)
                check_alive(context)
        except Exception as error:  # noqa: BLE001 - the boundary: every exception becomes an answer
            refusal = as_refusal(error)
            metrics.finish(started, refusal.kind.code)
            refusal.abort(context)
        metrics.finish(started, grpc.StatusCode.OK)
        metrics.sent.inc()
        return response

    return handle


def _wrap_stream(
    behaviour: Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]], lane: Lane, metrics: MethodMetrics
) -> Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]:
    def received(requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            # A whole base outlasts any grace period: the caller sends what is unanswered to another server.
            lane.check_open()
            metrics.received.inc()
            yield _wellformed(request)

    def handle(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        started = metrics.start()
        try:
            with lane.admit():
                for response in behaviour(received(requests), context):
                    metrics.sent.inc()
                    yield response
                check_alive(context)
        except GeneratorExit:
            # gRPC closes the answers of a caller that has gone.
            metrics.finish(started, (gone(context) or Refusal(CANCELLED)).kind.code)
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: every exception becomes an answer
            # gRPC ends the requests of a caller that has gone with an exception of its own.
            refusal = gone(context) or as_refusal(error)
            metrics.finish(started, refusal.kind.code)
            refusal.abort(context)
        metrics.finish(started, grpc.StatusCode.OK)

    return handle
