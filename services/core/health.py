"""`grpc.health.v1` over the model's state. Stands in no lane, so load never fails a liveness check."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


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
        super().Watch(request, context, send_response_callback)

    def register(self, server: grpc.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def _announce(self, status: int) -> None:
        for service in self._services:
            self.set(service, status)
