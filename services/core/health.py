"""`grpc.health.v1` over the model's state. Stands in no lane, so load never fails a liveness check."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import SERVICE_NAME, HealthServicer

from services.core.errors import MALFORMED, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

THREADS = 8
"""Checks that are answered at once, on each server."""

LIVE = "live"
"""Under this name a Check is answered SERVING for as long as the process answers. Liveness probes ask for it: to kill
a server because it has no model yet, or because it drains, would help nobody."""

UNKNOWN = "unknown"
"""Under this name all Watches of services that are not here are kept."""


_MALFORMED = object()
"""Stands for bytes that are no message. gRPC would answer them with words of its own, and never let the call go."""


def _read(data: bytes) -> object:
    try:
        return health_pb2.HealthCheckRequest.FromString(data)
    except DecodeError:
        return _MALFORMED


class Health(HealthServicer):
    """The library's servicer, not serving from the start, whose Watches can be ended.

    The library starts with SERVING for the whole server, and leaves Watches open when the server shuts down, where
    they would hold the exit until the end of its grace period.
    """

    def __init__(self, services: tuple[str, ...]) -> None:
        super().__init__()
        self._services = ("", *services)
        self._watchers: set[Callable[[Any], None]] = set()
        self._watchers_lock = threading.Lock()
        self._announce(NOT_SERVING)

    def announce_serving(self) -> None:
        self._announce(SERVING)

    @property
    def is_serving(self) -> bool:
        """What a Check of the whole server says."""
        whole = health_pb2.HealthCheckRequest()
        return self.Check(whole, None).status == SERVING  # type: ignore[arg-type]  # only for an unknown service

    def Check(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        if request.service == LIVE:
            return health_pb2.HealthCheckResponse(status=SERVING)
        return super().Check(request, context)

    def drain(self) -> None:
        """Says NOT_SERVING for good; later announcements have no effect."""
        self.enter_graceful_shutdown()

    def end_watches(self) -> None:
        """Completes every open Watch."""
        with self._watchers_lock:
            watchers, self._watchers = self._watchers, set()
        for send in watchers:
            send(None)

    def Watch(  # type: ignore[override]  # noqa: N802 - gRPC's name; always called with a callback
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send_response_callback: Callable[[Any], None],
    ) -> None:
        """Runs without a thread of its own: the library marks Watch as non-blocking, so gRPC passes a callback."""

        def forget() -> None:
            with self._watchers_lock:
                self._watchers.discard(send_response_callback)

        with self._watchers_lock:
            self._watchers.add(send_response_callback)
        if not context.add_callback(forget):
            # The caller has gone already.
            forget()
        if request.service not in self._services:
            # The library keeps each name that was ever asked for, and anybody may ask.
            request = health_pb2.HealthCheckRequest(service=UNKNOWN)
        super().Watch(request, context, send_response_callback)

    def register(self, server: grpc.Server) -> None:
        """In threads of its own: neither scoring nor calls that send no message take them."""
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="health")
        check = _InThreads(self.Check, threads)
        watch = _InThreads(self.Watch, threads, non_blocking=True)
        response: Callable[[Any], bytes] = health_pb2.HealthCheckResponse.SerializeToString
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(check, _read, response),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, _read, response),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))
        server.add_registered_method_handlers(SERVICE_NAME, handlers)

    def _announce(self, status: int) -> None:
        for service in self._services:
            self.set(service, status)


class _InThreads:
    """A behaviour with what gRPC reads off it: the threads to run it in, and whether it is given a callback."""

    def __init__(
        self, behaviour: Callable[..., Any], threads: ThreadPoolExecutor, *, non_blocking: bool = False
    ) -> None:
        self._behaviour = behaviour
        self.experimental_thread_pool = threads
        self.experimental_non_blocking = non_blocking

    def __call__(self, request: object, context: grpc.ServicerContext, *callback: object) -> Any:  # noqa: ANN401 - a behaviour of any method
        if request is _MALFORMED:
            Refusal(MALFORMED).abort(context)
        return self._behaviour(request, context, *callback)
