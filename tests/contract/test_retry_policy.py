"""What the client does about a failure follows from what the server means by it."""

from __future__ import annotations

import grpc

from services.client.channel import CHANNEL_OPTIONS, SERVICE_CONFIG
from services.core.errors import STATUS_TABLE
from services.core.server import _channel_options
from services.core.settings import Settings

RETRIED = set(SERVICE_CONFIG["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"])  # type: ignore[index]  # JSON


def test_the_client_retries_what_another_server_may_answer_and_nothing_else() -> None:
    assert {kind.code.name for kind in STATUS_TABLE if kind.code is grpc.StatusCode.UNAVAILABLE} == RETRIED
    assert all(kind.retry_after is not None for kind in STATUS_TABLE if kind.code.name in RETRIED)


def test_the_client_pings_no_faster_than_the_server_bears() -> None:
    server, client = dict(_channel_options(Settings())), dict(CHANNEL_OPTIONS)
    assert int(client["grpc.keepalive_time_ms"]) >= server["grpc.http2.min_ping_interval_without_data_ms"]
