"""Our own client: one for all threads."""

from __future__ import annotations

import functools
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.peers.clients import script
from services.client import ChurnClient, customer_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regulars.scoring.v1 import scoring_pb2

_OPENING = threading.Lock()

NAMES = [f"feature_{at:02}" for at in range(24)]


@functools.cache
def _client(port: int) -> ChurnClient:
    return ChurnClient(f"127.0.0.1:{port}")


@contextmanager
def connect(port: int) -> Iterator[script.Ask]:
    # Without the lock, threads that begin together would open one each.
    with _OPENING:
        client = _client(port)

    def ask(row: list[float]) -> float:
        response = client.predict("customer", dict(zip(NAMES, row, strict=True)))
        return response.prediction.churn_probability

    yield ask


def score(port: int, tables: Iterable[script.Matrix]) -> Iterator[Any]:
    """One stream."""
    with ChurnClient(f"127.0.0.1:{port}") as client:
        for answer in client.stream_predict(map(_table, tables)):
            yield client.columns(answer.predictions)["churn_probability"]


def _table(rows: script.Matrix) -> scoring_pb2.CustomerTable:
    ids = [f"customer-{row}" for row in range(len(rows))]
    return customer_table(ids, dict(zip(NAMES, rows.T, strict=True)), {})


if __name__ == "__main__":
    script.main(sys.modules[__name__])
