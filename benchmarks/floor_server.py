"""A churn server with an empty method beside the real ones: the floor that a Python handler on gRPC can reach.

python -m benchmarks.floor_server        settings from REGULARS_* as for any server
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc

from services.core import logs
from services.core.server import ModelServer
from services.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

FLOOR_METHOD = "/benchmarks.Floor/Empty"


class _Floor(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401 - untyped in gRPC
        if handler_call_details.method != FLOOR_METHOD:
            return None
        answer: Callable[[bytes, grpc.ServicerContext], bytes] = lambda _request, _context: b""  # noqa: E731 - an empty handler
        return grpc.unary_unary_rpc_method_handler(answer)


class FloorServer(ModelServer):
    """The server as it is, and the floor on the same port."""

    def __init__(self, model: str, settings: Settings) -> None:
        super().__init__(model, settings)
        self._server.add_generic_rpc_handlers((_Floor(),))


def main() -> None:
    logs.configure("INFO")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = FloorServer("churn", Settings.from_environment())
    server.load()
    while not server.is_ready:
        time.sleep(0.01)
    print(server.listen(), flush=True)
    stop.wait()
    server.drain()
    server.close()


if __name__ == "__main__":
    main()
