"""One gRPC call over HTTP/2 spoken by hand (RFC 9113), for what no gRPC client would send."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from tests.support.polling import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACKNOWLEDGED = 1, 4, 1
_INITIAL_WINDOW = 4
_FRAME = 16_384
_WINDOW = 65_535
_STREAM = 1


class RawCall:
    """A call on a connection of its own."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str]) -> None:
        """Sends the headers."""
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        # What may still be sent on the connection and on the stream.
        self._windows = [_WINDOW, _WINDOW]
        self._initial_window = _WINDOW
        self._received = b""
        self._trailers = b""
        self._ended = False
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "test",
            "content-type": "application/grpc",
            "te": "trailers",
            **headers,
        }
        # Literal fields without indexing (RFC 7541, 6.2.2).
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
        self._socket.sendall(_frame(_HEADERS, _END_HEADERS, _STREAM, block))

    @property
    def ended(self) -> bool:
        return self._ended

    def send(self, message: bytes, *, compressed: bool = False, last: bool = True) -> None:
        """Sends a message as fast as the server takes it, and gives up when the call ends.

        What the server answers stays untaken: it is never told that there is room for more.
        """
        data = memoryview(struct.pack(">BI", compressed, len(message)) + message)
        while data and not self._ended:
            size = min(len(data), _FRAME, *self._windows)
            if size <= 0:
                self._read()
                continue
            flags = _END_STREAM if last and size == len(data) else 0
            self._socket.sendall(_frame(_DATA, flags, _STREAM, bytes(data[:size])))
            self._windows = [window - size for window in self._windows]
            data = data[size:]

    def code(self) -> int:
        """Waits for the call's end; its gRPC status."""
        while not self._ended:
            self._read()
        self._socket.close()
        # gRPC writes the first of a connection as a literal: name, length, digits.
        _, _, value = self._trailers.partition(b"grpc-status")
        return int(value[1 : 1 + value[0]])

    def _read(self) -> None:
        chunk = self._socket.recv(1 << 16)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._received += chunk
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3])
            if len(self._received) < 9 + length:
                return
            kind, flags = self._received[3:5]
            stream = int.from_bytes(self._received[5:9])
            content, self._received = self._received[9 : 9 + length], self._received[9 + length :]
            self._take(kind, flags, stream, content)

    def _take(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACKNOWLEDGED:
            for name, value in struct.iter_unpack(">HI", content):
                if name == _INITIAL_WINDOW:
                    self._windows[1] += value - self._initial_window
                    self._initial_window = value
            self._socket.sendall(_frame(_SETTINGS, _ACKNOWLEDGED, 0, b""))
        elif kind == _PING and not flags & _ACKNOWLEDGED:
            self._socket.sendall(_frame(_PING, _ACKNOWLEDGED, 0, content))
        elif kind == _WINDOW_UPDATE:
            self._windows[bool(stream)] += int.from_bytes(content)
        elif kind == _HEADERS:
            self._trailers += content
            self._ended = bool(flags & _END_STREAM)
        elif kind in {_RESET, _GO_AWAY}:
            self._ended = True


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content


def _text(text: str) -> bytes:
    content = text.encode("ascii")
    assert len(content) < 127, "longer texts need a longer prefix"
    return bytes([len(content)]) + content
