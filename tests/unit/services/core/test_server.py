from __future__ import annotations

import pytest

from services.core.server import _address
from services.core.settings import Settings


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1:7"), ("localhost", "localhost:7"), ("::1", "[::1]:7")]
)
def test_an_address_keeps_host_and_port_apart(host: str, address: str) -> None:
    assert _address(Settings(host=host, port=7)) == address
