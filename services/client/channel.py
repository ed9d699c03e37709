"""A channel with the retry policy that the servers expect."""

from __future__ import annotations

import json

import grpc

MAX_ATTEMPTS = 5
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Answers of a table are smaller than its request, whose limit is the server's."""

SERVICE_CONFIG = {
    # Every replica behind a headless service gets its share.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            # A draining or restarting server answers UNAVAILABLE, and another replica takes the call. Saturation
            # is RESOURCE_EXHAUSTED and never retried: that would feed the overload.
            "retryPolicy": {
                "maxAttempts": MAX_ATTEMPTS,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # Stops retrying while most calls fail.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}


CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # No faster than the server's minimum ping interval.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # gRPC waits up to two minutes before it looks for a lost server again, and fails every call until then.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def open_channel(target: str) -> grpc.Channel:
    """A channel to `host:port` (or any gRPC target) without transport security."""
    return grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
