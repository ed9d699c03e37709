"""Callers that score one household after another, while the version that answers them changes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

from services.client import CallError, ChurnClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.client import AnyClient

    Features = dict[str, float | str | None]

CALLERS = 4
PAUSE_SECONDS = 0.005
"""Between two calls of a caller. Leaves a core for the rest: this shows a swap, it does not measure speed."""

LOOK_SECONDS = 0.1


@dataclass
class Caller:
    """Calls until it is told to stop, and keeps to itself what came.

    `answers` counts them by version; `heard` are the versions in the order in which they took over.
    """

    target: str
    households: Sequence[tuple[str, Features]]
    answers: Counter[str] = field(default_factory=Counter)
    heard: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def call_until(self, stop: threading.Event) -> None:
        with ChurnClient(self.target) as client:
            inputs = inputs_of(client)
            for identifier, features in cycle(self.households):
                if stop.wait(PAUSE_SECONDS):
                    return
                try:
                    version = client.predict(identifier, inputs(features)).model_version.version
                except CallError as error:
                    self.failures.append(str(error))
                else:
                    self._hear(version)

    def _hear(self, version: str) -> None:
        self.answers[version] += 1
        if self.heard[-1:] != [version]:
            self.heard.append(version)


class Load:
    """Several callers of one server, each with households of its own."""

    def __init__(self, target: str, households: Sequence[tuple[str, Features]]) -> None:
        self.callers = [Caller(target, households[first::CALLERS]) for first in range(CALLERS)]

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=caller.call_until, args=(stop,)) for caller in self.callers]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def wait_for(self, version: str, seconds: float) -> None:
        """Until that version answers every caller, for at most `seconds`; what they heard tells whether it did."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(caller.heard[-1:] != [version] for caller in self.callers):
            time.sleep(LOOK_SECONDS)

    @property
    def answers(self) -> Counter[str]:
        """By version."""
        return sum((caller.answers for caller in self.callers), Counter())

    @property
    def orders(self) -> set[tuple[str, ...]]:
        """The versions in the order in which callers heard them; one order, if all heard the same."""
        return {tuple(caller.heard) for caller in self.callers}

    @property
    def failures(self) -> list[str]:
        return [failure for caller in self.callers for failure in caller.failures]


def inputs_of(client: AnyClient) -> Callable[[Features], Features]:
    """Takes the inputs of the served model out of a row of features, which holds those of all models."""
    names = {one.name for one in client.get_model().model.inputs}
    return lambda features: {name: value for name, value in features.items() if name in names}
