"""A model that misbehaves in the middle of a run, as it is told."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_registry.schema import Feature, Output, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from model_registry.columns import Columns
    from services.batch.scorers import Answers, Scorer

SCHEMA = Schema((Feature("orders", "numeric"),), (Output("half", "orders"),))


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_for_ever() -> None:
    while True:
        time.sleep(1)


def fail(error: Exception) -> None:
    raise error


@dataclass(frozen=True)
class TroubledModel:
    """Says half of a customer's orders.

    `unopened` is raised where it is loaded. Before it answers to a customer of the id `trouble` it does what `then`
    is. If `only_once` is a file, the trouble is over when that is there, and whoever meets it makes the file.
    """

    unopened: Exception | None = None
    trouble: str = ""
    then: Callable[[], None] = kill_this_process
    only_once: Path | None = None
    name: str = "halving"
    version: str = "1"
    digest: str = "d" * 64
    schema: Schema = SCHEMA

    @contextmanager
    def opened(self) -> Iterator[Scorer]:
        if self.unopened:
            raise self.unopened
        yield TroubledScorer(self)


class TroubledScorer:
    def __init__(self, model: TroubledModel) -> None:
        self.schema = model.schema
        self._model = model

    def score(self, ids: Sequence[str], columns: Columns) -> Iterator[Answers]:
        if self._model.trouble in ids:
            self._meet_trouble()
        yield {"status": np.full(len(ids), "OK", object), "half": columns.numeric[:, 0] / 2}

    def nobody(self) -> Answers:
        return {"status": np.empty(0, object), "half": np.empty(0, np.float32)}

    def _meet_trouble(self) -> None:
        over = self._model.only_once
        if over is not None:
            if over.exists():
                return
            over.touch()
        self._model.then()
