from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from services.core import server
from services.core.server import _address, _channel_options
from services.core.settings import Settings
from tests.support.polling import PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1:7"), ("localhost", "localhost:7"), ("::1", "[::1]:7")]
)
def test_an_address_keeps_host_and_port_apart(host: str, address: str) -> None:
    assert _address(host, 7) == address


@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n"])
def test_who_connects_and_does_not_go_on_is_cut_off(monkeypatch: pytest.MonkeyPatch, beginning: bytes) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_MILLISECONDS", 200)
    slow = grpc.server(ThreadPoolExecutor(1), options=_channel_options(Settings()))
    port = slow.add_insecure_port("127.0.0.1:0")
    slow.start()
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        connection.sendall(beginning)
        try:
            while connection.recv(1024):
                pass
        except ConnectionResetError:
            pass
    slow.stop(None).wait()
