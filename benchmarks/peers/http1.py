"""A caller of HTTP/1.1 for asyncio: connections that are kept, one call at a time on each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"


@dataclass(frozen=True)
class Response:
    """An answer whole."""

    status: int
    body: bytes


def request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + END_OF_HEAD + body


def take_response(received: bytearray) -> Response | None:
    """Cuts an answer off, or leaves what is less than one.

    Raises:
        ValueError: it does not say how long it is.
    """
    end = received.find(END_OF_HEAD)
    if end < 0:
        return None
    status, *fields = bytes(received[:end]).split(b"\r\n")
    lengths = [int(field[len(LENGTH) :]) for field in fields if field.lower().startswith(LENGTH)]
    if not lengths:
        raise ValueError("an answer without its length")
    start = end + len(END_OF_HEAD)
    if len(received) < start + lengths[0]:
        return None
    body = bytes(received[start : start + lengths[0]])
    del received[: start + lengths[0]]
    return Response(int(status.split()[1]), body)


class Connection(asyncio.Protocol):
    """One call at a time; a lost connection is status 0."""

    def __init__(self) -> None:
        self.open = True
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Response] | None = None

    async def call(self, data: bytes) -> Response:
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if (response := take_response(self._received)) is not None:
            self._end(response)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.open = False
        self._end(Response(0, b""))

    def _end(self, response: Response) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(response)


class Pool:
    """As many connections as there are calls at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._all: list[Connection] = []
        self._idle: list[Connection] = []

    async def call(self, data: bytes) -> Response:
        connection = await self._take()
        response = await connection.call(data)
        if connection.open:
            self._idle.append(connection)
        return response

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    async def _take(self) -> Connection:
        while self._idle:
            if (connection := self._idle.pop()).open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        self._all.append(connection)
        return connection
