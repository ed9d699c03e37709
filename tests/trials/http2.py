"""A gRPC caller down to the frames of HTTP/2, for asyncio.

gRPC's own client never sends half a message, never stops reading, hides the attempts behind a retry, and costs as much
as the server. This one costs a tenth of that, so the server is what a trial measures, and it does what it is told.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Self, cast

import grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
REFUSED, CANCEL = 7, 8

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = 9
MESSAGE_HEAD = 5
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW, FIRST_LARGEST_FRAME = 65_535, 16_384
"""What holds until the server's settings say otherwise."""
MAX_CONCURRENT = 32
"""Calls on one connection. The servers allow 100, among them those that are answered and not yet forgotten."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_CODES_OF_RESET = {
    REFUSED: grpc.StatusCode.UNAVAILABLE,
    CANCEL: grpc.StatusCode.CANCELLED,
    11: grpc.StatusCode.RESOURCE_EXHAUSTED,
    12: grpc.StatusCode.PERMISSION_DENIED,
}
"""What gRPC makes of HTTP/2's error codes; of all others, INTERNAL."""

# Header table size 0, so that every header block stands for itself; metadata that is bytes comes as bytes.
_TABLE_SIZE, _INITIAL_WINDOW, _LARGEST_FRAME, _TRUE_BINARY = 1, 4, 5, 0xFE03


@dataclass(frozen=True)
class Answer:
    """How a call ended. `seconds` are from its sending to the last byte of its answer.

    `unseen` is a call that the server's transport refused before the server saw it, which gRPC's clients send again.
    """

    code: grpc.StatusCode
    text: str
    trailers: Mapping[str, bytes]
    body: bytes
    seconds: float
    unseen: bool = False

    @property
    def ok(self) -> bool:
        return self.code is grpc.StatusCode.OK

    def messages(self) -> list[bytes]:
        """The answer's messages that nobody has received yet."""
        rest, found = bytearray(self.body), []
        while (message := take_message(rest)) is not None:
            found.append(message)
        return found


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def framed(message: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, then its length."""
    return b"\0" + len(message).to_bytes(4) + message


def take_message(data: bytearray) -> bytes | None:
    """Cuts the first message off, or leaves what is less than one."""
    if len(data) < MESSAGE_HEAD:
        return None
    end = MESSAGE_HEAD + int.from_bytes(data[1:MESSAGE_HEAD])
    if len(data) < end:
        return None
    message = bytes(data[MESSAGE_HEAD:end])
    del data[:end]
    return message


@lru_cache(1024)
def headers(path: str, timeout: float | None = None) -> bytes:
    """The header block of a call: pseudo-headers by their places in HPACK's static table, the rest in letters."""
    block = b"\x83\x86\x04" + _text(path) + b"\x01" + _text("localhost") + b"\x0f\x10" + _text("application/grpc")
    block += b"\0" + _text("te") + _text("trailers")
    if timeout is not None:
        block += b"\0" + _text("grpc-timeout") + _text(f"{timeout * 1000:.0f}m")
    return block


def _text(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()


_STATUSES = dict(zip(range(8, 15), (b"200", b"204", b"206", b"304", b"400", b"404", b"500"), strict=True))


@lru_cache(4096)
def read_headers(block: bytes) -> Mapping[str, bytes]:
    """The fields of a header block that was made without a dynamic table; the names are all spelled out."""
    fields, at = {}, 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            fields[":status"] = _STATUSES[first & 0x7F]
            at += 1
        elif first & 0xE0 == 0x20:
            at += 1
        else:
            name, at = _read_text(block, at + 1)
            value, at = _read_text(block, at)
            fields[name.decode()] = value[1:] if name.endswith(b"-bin") else value
    return fields


def _read_text(block: bytes, at: int) -> tuple[bytes, int]:
    length, at = block[at] & 0x7F, at + 1
    if length == 0x7F:
        shift = 0
        while True:
            byte, at = block[at], at + 1
            length += (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
    return block[at : at + length], at + length


class Stream:
    """One call in flight."""

    def __init__(self, connection: Connection, number: int, window: int, timeout: float | None) -> None:
        self.number = number
        self.window = window
        self._timeout = timeout
        self.outgoing: deque[tuple[bytes, bool]] = deque()
        self.done: asyncio.Future[Answer] = connection.loop.create_future()
        self.data = bytearray()
        self.fields: Mapping[str, bytes] = {}
        self._connection = connection
        self._started = perf_counter()
        self._arrival: asyncio.Future[None] | None = None

    def send(self, message: bytes, *, end: bool = False) -> None:
        self.send_raw(framed(message), end=end)

    def send_raw(self, data: bytes, *, end: bool = False) -> None:
        """Sends bytes that need be no message."""
        self.outgoing.append((data, end))
        self._connection.flush(self)

    def cancel(self) -> None:
        self._connection.write(frame(RST_STREAM, 0, self.number, CANCEL.to_bytes(4)))
        self._connection.finish(self, grpc.StatusCode.CANCELLED, "cancelled by the caller")

    async def receive(self) -> bytes | None:
        """The next message, or None when the call has ended."""
        while (message := take_message(self.data)) is None:
            if self.done.done():
                return None
            self._arrival = self._connection.loop.create_future()
            await self._arrival
        return message

    def arrive(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    @property
    def expired(self) -> bool:
        """Whether its time is up; the server may count from a moment earlier."""
        return self._timeout is not None and perf_counter() - self._started > 0.9 * self._timeout

    def end(self, code: grpc.StatusCode, text: str, *, unseen: bool = False) -> None:
        if not self.done.done():
            seconds = perf_counter() - self._started
            self.done.set_result(Answer(code, text, self.fields, bytes(self.data), seconds, unseen))
        self.arrive()


class Connection(asyncio.Protocol):
    """One connection; a call that it cannot finish ends UNAVAILABLE."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.streams: dict[int, Stream] = {}
        self.closing = False
        """It takes no more calls: the server said so, or it is lost."""
        self.lost = self.loop.create_future()
        self._ready: asyncio.Future[None] = self.loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._next = 1
        self._window = FIRST_WINDOW
        self._stream_window = FIRST_WINDOW
        self._largest_frame = FIRST_LARGEST_FRAME
        self._unacknowledged = 0

    @classmethod
    async def open(cls, port: int, *, reads: bool = True) -> Self:
        """Connects; where it never reads, the server has no window to send answers into beyond the first."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        connection._greet(LARGEST_WINDOW if reads else 0)
        await connection._ready
        return connection

    def _greet(self, window: int) -> None:
        settings = struct.pack(">HIHIHI", _TABLE_SIZE, 0, _INITIAL_WINDOW, window, _TRUE_BINARY, 1)
        self.write(PREFACE + frame(SETTINGS, 0, 0, settings))
        if window:
            self.write(frame(WINDOW_UPDATE, 0, 0, (window - FIRST_WINDOW).to_bytes(4)))

    @property
    def free(self) -> bool:
        return not self.closing and len(self.streams) < MAX_CONCURRENT

    def start(self, path: str, timeout: float | None = None) -> Stream:
        """Opens a call; `timeout` in seconds is what the server is told."""
        stream = Stream(self, self._next, self._stream_window, timeout)
        self._next += 2
        if self.closing:
            stream.end(grpc.StatusCode.UNAVAILABLE, "the connection is closing", unseen=True)
            return stream
        self.streams[stream.number] = stream
        self.write(frame(HEADERS, END_HEADERS, stream.number, headers(path, timeout)))
        return stream

    async def call(self, path: str, message: bytes, timeout: float | None = None) -> Answer:  # noqa: ASYNC109 - what the server is told
        stream = self.start(path, timeout)
        stream.send(message, end=True)
        return await stream.done

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def flush(self, stream: Stream) -> None:
        """Sends what the windows of the stream and of the connection have room for."""
        while stream.outgoing:
            data, end = stream.outgoing[0]
            room = min(self._window, stream.window, self._largest_frame)
            if data and room <= 0:
                return
            sent, rest = data[:room], data[room:]
            self._window -= len(sent)
            stream.window -= len(sent)
            if rest:
                stream.outgoing[0] = (rest, end)
            else:
                stream.outgoing.popleft()
            self.write(frame(DATA, END_STREAM if end and not rest else 0, stream.number, sent))

    def finish(self, stream: Stream, code: grpc.StatusCode, text: str, *, unseen: bool = False) -> None:
        self.streams.pop(stream.number, None)
        stream.end(code, text, unseen=unseen)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Vanishes without a word."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        for stream in list(self.streams.values()):
            self.finish(stream, grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        if not self._ready.done():
            self._ready.set_exception(ConnectionError("the server closed the connection before its settings"))
        self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        at = 0
        while len(received) - at >= FRAME_HEAD:
            end = at + FRAME_HEAD + int.from_bytes(received[at : at + 3])
            if len(received) < end:
                break
            kind, flags = received[at + 3], received[at + 4]
            number = int.from_bytes(received[at + 5 : at + FRAME_HEAD])
            self._handle(kind, flags, number, bytes(received[at + FRAME_HEAD : end]))
            at = end
        del received[:at]

    def _handle(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        stream = self.streams.get(number)
        if kind in {DATA, HEADERS}:
            if kind == DATA:
                self._count(len(payload))
            if stream is not None:
                self._read(stream, kind, flags, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(number, stream, int.from_bytes(payload))
        elif kind == RST_STREAM and stream is not None:
            self._reset(stream, int.from_bytes(payload))
        elif kind in {SETTINGS, PING} and not flags & ACK:
            self.write(frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind == SETTINGS:
                self._agree(payload)
        elif kind == GOAWAY:
            self.closing = True

    def _agree(self, settings: bytes) -> None:
        given = dict(struct.iter_unpack(">HI", settings))
        self._stream_window = given.get(_INITIAL_WINDOW, self._stream_window)
        self._largest_frame = given.get(_LARGEST_FRAME, self._largest_frame)
        if not self._ready.done():
            self._ready.set_result(None)

    def _reset(self, stream: Stream, reason: int) -> None:
        code = _CODES_OF_RESET.get(reason, grpc.StatusCode.INTERNAL)
        if reason == CANCEL and stream.expired:
            # The server's transport resets a call whose time is up; a client knows why.
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        self.finish(stream, code, "the server reset the stream", unseen=reason == REFUSED)

    def _read(self, stream: Stream, kind: int, flags: int, payload: bytes) -> None:
        if kind == DATA:
            stream.data += payload
            stream.arrive()
        else:
            stream.fields = read_headers(payload)
        if flags & END_STREAM:
            code = _CODES[int(stream.fields.get("grpc-status", b"2"))]
            self.finish(stream, code, stream.fields.get("grpc-message", b"").decode(errors="replace"))

    def _count(self, received: int) -> None:
        """Gives the server its window back before half of it is used."""
        self._unacknowledged += received
        if self._unacknowledged > LARGEST_WINDOW // 2:
            self.write(frame(WINDOW_UPDATE, 0, 0, self._unacknowledged.to_bytes(4)))
            self._unacknowledged = 0

    def _widen(self, number: int, stream: Stream | None, by: int) -> None:
        if number == 0:
            self._window += by
            for waiting in list(self.streams.values()):
                self.flush(waiting)
        elif stream is not None:
            stream.window += by
            self.flush(stream)


class Pool:
    """As many connections as are wanted at a time, each replaced when it ends, as a client's channel does it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: list[Connection] = []
        self._opening = asyncio.Lock()

    async def connection(self) -> Connection:
        """One with room for another call."""
        for connection in self._connections:
            if connection.free:
                return connection
        async with self._opening:
            self._connections = [connection for connection in self._connections if not connection.closing]
            if not self._connections or not self._connections[-1].free:
                self._connections.append(await Connection.open(self._port))
            return self._connections[-1]

    async def call(self, path: str, message: bytes, timeout: float | None = None) -> Answer:  # noqa: ASYNC109 - what the server is told
        while (answer := await (await self.connection()).call(path, message, timeout)).unseen:
            pass
        return answer

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
