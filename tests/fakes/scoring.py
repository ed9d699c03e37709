"""A model without a graph, whose scores are its features and which tells whom it was asked for; and who runs it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from model_registry.columns import Columns
from model_registry.schema import Distribution, Output, Schema
from services.batch.shards import Worker
from tests.support.bundles import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.batch.scorers import Answers
    from services.batch.shards import ShardReport, Task
    from services.batch.source import Shard

INACTIVE_FROM = 90.0
"""Days: whoever did not come for so long is not scored."""

EDGES = (10.0, 20.0)
"""Days: what training froze of the fake's scores."""

PART_ROWS = 3
"""Rows of an answer."""


def _schema(name: str, features: Schema) -> Schema:
    spread = Distribution(EDGES, (0.5, 0.25, 0.25), missing=0.0, unseen=0.0, customers=4)
    return replace(features, outputs=(Output(f"{name}_days", "days", distribution=spread), Output(f"{name}_code", "")))


@dataclass(frozen=True)
class FakeModel:
    """Implements `services.batch.scorers.Model`. Its scores have columns of every kind that the real ones have.

    `asked` holds the ids of everybody it was asked for, in order; `tells_edges` is false of a server.
    """

    name: str = "churn"
    version: str = "1"
    digest: str = "d" * 64
    features: Schema = SCHEMA
    tells_edges: bool = True
    asked: list[str] = field(default_factory=list, compare=False)

    @property
    def schema(self) -> Schema:
        told = _schema(self.name, self.features)
        return told if self.tells_edges else replace(told, outputs=())

    @contextmanager
    def opened(self) -> Iterator[FakeScorer]:
        yield FakeScorer(self)


class FakeScorer:
    """Implements `services.batch.scorers.Scorer`."""

    def __init__(self, model: FakeModel) -> None:
        self.schema = model.schema
        self._model = model

    def score(self, ids: Sequence[str], columns: Columns) -> Iterator[Answers]:
        self._model.asked.extend(ids)
        for start in range(0, len(ids), PART_ROWS):
            yield self._answers(columns.slice(start, start + PART_ROWS))

    def nobody(self) -> Answers:
        numbers, texts = len(self.schema.numeric), len(self.schema.categorical)
        return self._answers(Columns(np.empty((0, numbers), np.float32), np.empty((0, texts), object)))

    def _answers(self, columns: Columns) -> Answers:
        days, name = columns.numeric[:, 0], self._model.name
        scored = days < INACTIVE_FROM
        return {
            "status": np.where(scored, "OK", "INACTIVE").astype(object),
            f"{name}_days": np.where(scored, days, np.float32(np.nan)),
            f"{name}_channel": np.where(scored, columns.categorical[:, 0], np.array(None)),
            f"{name}_often": columns.numeric[:, 1] > 1,
            f"{name}_code": np.where(scored, days, -1).astype(np.int32),
        }


class InTurn:
    """Implements `services.batch.engines.Engine`: shards one after the other, here.

    `before` is called before each shard, and `order` may put them into another; `worked` holds their numbers.
    """

    def __init__(
        self,
        before: Callable[[Shard], None] = lambda shard: None,
        order: Callable[[Sequence[Shard]], Sequence[Shard]] = lambda shards: shards,
    ) -> None:
        self._before = before
        self._order = order
        self.worked: list[int] = []

    def work(self, task: Task, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        with Worker(task) as worker:
            for shard in self._order(shards):
                self._before(shard)
                report = worker.work(shard)
                self.worked.append(shard.number)
                yield report
