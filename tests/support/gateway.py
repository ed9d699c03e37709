"""A Pushgateway that keeps what it is sent."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Gateway:
    """A receiver that answers with `status` and keeps what it got."""

    status: int = 202
    calls: list[tuple[str, str, str]] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[str]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                gateway.calls.append((self.command, self.path, body.decode()))
                self.send_response(gateway.status)
                self.end_headers()

            do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - as the base class calls them

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                pass

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()
