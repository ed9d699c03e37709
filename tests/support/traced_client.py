"""`python -m tests.support.traced_client PORT`: an application that traces its own work and scores within it.

It exports as the variables `OTEL_*` say, calls every method once, one of them in vain, and does so again over a new
connection until it is told to end: a line on standard input for each round.
"""

from __future__ import annotations

import struct
import sys
from contextlib import suppress

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from services.client import CallError, ChurnClient, customer_table

IDENTIFIER = "customer-zeta-4711"
DAYS = 71.40625
CATEGORY = "a category of his own"
UNKNOWN = "feature_that_is_not_there"
SECRETS = (
    *(text.encode() for text in (IDENTIFIER, CATEGORY, UNKNOWN, repr(DAYS))),
    *(struct.pack(order, DAYS) for order in ("<f", "<d")),
)
"""What a call knows of a customer, in every form that it could take in a span."""

TABLES = 3


def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    for _ in sys.stdin:
        with ChurnClient(f"127.0.0.1:{sys.argv[1]}") as client, trace.get_tracer("shop").start_as_current_span("shop"):
            _score(client)
        sys.stdout.write("scored\n")
        sys.stdout.flush()
    provider.shutdown()


def _score(client: ChurnClient) -> None:
    features: dict[str, float | str | None] = {"recency_days": DAYS, "frequency": 2.0, "channel": CATEGORY}
    table = customer_table(
        [IDENTIFIER, "another"], {"recency_days": [DAYS, 1.0], "frequency": [1.0, 2.0]}, {"channel": [CATEGORY, "web"]}
    )
    client.predict(IDENTIFIER, features)
    client.batch_predict(table)
    list(client.stream_predict([table] * TABLES))
    with suppress(CallError):
        client.predict(IDENTIFIER, {**features, UNKNOWN: DAYS})


if __name__ == "__main__":
    main()
