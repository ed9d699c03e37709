"""What a channel is told: above all the retry policy that the servers expect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.methods import Method

MAX_ATTEMPTS = 5
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Answers of a table are smaller than its request, whose limit is the server's."""

RETRY_POLICY = {
    # What the server's table of errors says may be tried again. A draining, restarting or dead server is UNAVAILABLE,
    # and another takes the call: the waits are short at first and together outlast a restart. A saturated one is
    # RESOURCE_EXHAUSTED and says how long to wait, which gRPC does. CANCELLED, which here no caller asked for, is how
    # gRPC itself answers calls that reach a server as it ends.
    "maxAttempts": MAX_ATTEMPTS,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
}


def channel_options(stream: Method) -> tuple[tuple[str, str | int], ...]:
    """The options of a channel, one of whose methods is that stream."""
    service_config = {
        # Every replica behind a headless service gets its share.
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {"name": [{}], "retryPolicy": RETRY_POLICY},
            # A stream is mended by who sends its tables. gRPC, where it opens one again, may forget the message that
            # was on its way when the server died: both ends then wait for each other, until the server's patience ends.
            {"name": [{"service": stream.service, "method": stream.name}]},
        ],
        # A failed attempt costs one token, an answered call gives a tenth back; below half of them nothing is retried.
        # So retries add a tenth to the load of a server that goes on refusing, and the hundreds of calls that one dead
        # server takes along are still made again. More tokens gRPC does not allow.
        "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
    }
    return (
        ("grpc.service_config", json.dumps(service_config)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A request beyond it would not be made again; gRPC's own limit is a quarter of a MiB, and tables are larger.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        # No faster than the server's minimum ping interval.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # gRPC waits up to two minutes before it looks for a lost server again, and fails every call until then.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    )
