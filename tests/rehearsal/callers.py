"""Callers of all four services, all along: one customer, a table, a stream, through the suite's own client."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from services.client import customer_table, load_client
from tests.support.polling import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from regulars.scoring.v1 import scoring_pb2
    from services.client import AnyClient, Security

ONE, TABLE, STREAM = "one customer", "table", "stream"
INPUTS = "the model's inputs"

SINGLES = 10
"""Calls for one customer, of each round; then comes a table, and now and then a stream."""
PAUSE_SECONDS = 0.04
ROWS = 50
"""Of each table."""
STREAMED_TABLES = 4
ROUNDS_TO_A_STREAM = 4


class Failure(NamedTuple):
    """A call that failed for its caller, after all that the client tries by itself. `at` is Unix time."""

    at: float
    model: str
    what: str


@dataclass
class Caller:
    """Calls one service until it is told to stop, and keeps what came of it."""

    model: str
    target: str
    security: Security
    customers: pa.Table
    failures: list[Failure] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    heard: list[str] = field(default_factory=list)
    """The versions, in the order in which they took over."""
    awake: threading.Event = field(default_factory=threading.Event)
    idle: threading.Event = field(default_factory=threading.Event)

    def call_until(self, stop: threading.Event) -> None:
        with load_client(self.model)(self.target, self.security) as client:
            calls = self._calls(client)
            while not stop.is_set():
                if not self.awake.is_set():
                    self.idle.set()
                    time.sleep(PAUSE_SECONDS)
                    continue
                self.idle.clear()
                next(calls)

    def _calls(self, client: AnyClient) -> Iterator[None]:
        """Makes one call after another, each when it is asked for the next."""
        names: list[str] = []
        while not names:
            with self._keeping(INPUTS):
                names = [one.name for one in client.get_model().model.inputs]
            yield
            time.sleep(PAUSE_SECONDS)
        rows = itertools.cycle(rows_of(self.customers, names))
        tables = itertools.cycle(_tables(self.customers, names))
        for number in itertools.count():
            for identifier, features in itertools.islice(rows, SINGLES):
                self._try(ONE, partial(client.predict, identifier, features))
                yield
                time.sleep(PAUSE_SECONDS)
            self._try(TABLE, partial(client.batch_predict, next(tables)))
            yield
            if number % ROUNDS_TO_A_STREAM == 0:
                self._try(STREAM, partial(client.stream_predict, itertools.islice(tables, STREAMED_TABLES)))
                yield

    def _try(self, what: str, call: Callable[[], Any]) -> None:
        with self._keeping(what):
            for answer in call() if what == STREAM else (call(),):
                self._hear(answer.model_version.version)
            self.answered[what] += 1

    @contextmanager
    def _keeping(self, what: str) -> Iterator[None]:
        """Keeps whatever goes wrong within: were it to end the thread, no later call could fail."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - an error of the client's own fails the call as well
            self.failures.append(Failure(time.time(), self.model, f"{what}: {type(error).__name__}: {error}"))

    def _hear(self, version: str) -> None:
        if self.heard[-1:] != [version]:
            self.heard.append(version)


class Callers:
    """One caller a model."""

    def __init__(self, targets: Mapping[str, tuple[str, Security]], customers: pa.Table) -> None:
        self.by_model = {model: Caller(model, *target, customers) for model, target in targets.items()}

    @contextmanager
    def calling(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [
            threading.Thread(target=caller.call_until, args=(stop,), daemon=True) for caller in self.by_model.values()
        ]
        for caller, thread in zip(self.by_model.values(), threads, strict=True):
            caller.awake.set()
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    @contextmanager
    def without(self, model: str) -> Iterator[None]:
        """Nobody calls that model within the block; what was under way has ended when it begins."""
        caller = self.by_model[model]
        caller.awake.clear()
        eventually(caller.idle.is_set, f"the caller of {model} to rest")
        try:
            yield
        finally:
            caller.awake.set()

    def failures_since(self, began: float) -> list[Failure]:
        """Of all models, in the order of time. `began` is Unix time."""
        kept = (failure for caller in self.by_model.values() for failure in caller.failures)
        return sorted(failure for failure in kept if failure.at >= began)

    @property
    def answered(self) -> Counter[str]:
        """By sort of call."""
        return sum((caller.answered for caller in self.by_model.values()), Counter())

    @property
    def answered_by_model(self) -> dict[str, int]:
        return {model: caller.answered.total() for model, caller in self.by_model.items()}


def rows_of(customers: pa.Table, names: list[str]) -> list[tuple[str, dict[str, float | str | None]]]:
    """Each customer's id, and these features of his."""
    return [
        (row["customer_id"], {name: _known(row[name]) for name in names})
        for row in customers.select(["customer_id", *names]).to_pylist()
    ]


def _known(value: float | str | None) -> float | str | None:
    """NaN is how a file says missing; a request leaves the feature out."""
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN alone differs from itself


def _tables(customers: pa.Table, names: list[str]) -> list[scoring_pb2.CustomerTable]:
    texts = {name for name in names if pa.types.is_string(customers.schema.field(name).type)}
    tables = []
    for first in range(0, customers.num_rows, ROWS):
        part = customers.slice(first, ROWS).to_pydict()
        numeric = {name: np.array(part[name], np.float32) for name in names if name not in texts}
        tables.append(customer_table(part["customer_id"], numeric, {name: part[name] for name in texts}))
    return tables
