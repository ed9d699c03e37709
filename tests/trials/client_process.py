"""A process that calls a churn server through the suite's own client, and prints how its calls ended.

It says "calling" once it has been answered, and begins.

python -m tests.trials.client_process PORT SECONDS RATE [--without-retries]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from services.client import CallError, ChurnClient
from services.client.security import UNSECURED, Security
from tests.support.calls import features_of
from tests.trials.requests import customers

if TYPE_CHECKING:
    import grpc

THREADS = 32


class WithoutRetries(Security):
    """Unsecured, and gRPC makes no call again."""

    def open_channel(self, target: str, options: tuple[tuple[str, str | int], ...]) -> grpc.Channel:
        return super().open_channel(target, (*options, ("grpc.enable_retries", 0)))


def main() -> None:
    options = _parse()
    security = WithoutRetries() if options.without_retries else UNSECURED
    with ChurnClient(f"127.0.0.1:{options.port}", security) as client:
        client.get_model()
        print("calling", flush=True)  # noqa: T201 - what it is for
        outcomes, seconds = _call(client, options.seconds, options.rate)
    print(json.dumps({"outcomes": outcomes, "slowest": max(seconds, default=0.0)}))  # noqa: T201 - what it is for


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("rate", type=float)
    parser.add_argument("--without-retries", action="store_true")
    return parser.parse_args()


def _call(client: ChurnClient, seconds: float, rate: float) -> tuple[Counter[str], list[float]]:
    """Starts a call whenever one is due, whether the earlier ones are answered or not."""
    features = [features_of(customers(50), row) for row in range(50)]
    outcomes: Counter[str] = Counter()
    durations: list[float] = []

    def call(number: int) -> None:
        began = time.perf_counter()
        try:
            client.predict(f"c{number}", features[number % len(features)])
        except CallError as error:
            outcomes[f"{error.code.name} {error.reason} {error.message}"[:80].strip()] += 1
        else:
            outcomes["OK"] += 1
        durations.append(time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(int(seconds * rate)):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            threads.submit(call, number)
    return outcomes, durations


if __name__ == "__main__":
    main()
