"""From a request's customers to scores: what every servicer does before it fills its own answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_registry.columns import Columns, Scores
from model_registry.servable import SLICE_ROWS
from services.core.call_threads import done_ahead
from services.core.errors import CANCELLED, EXPIRED, Refusal, as_refusal, check_alive

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc
    import numpy as np
    from numpy.typing import NDArray

    from model_registry.columns import Score
    from regulars.scoring.v1 import scoring_pb2
    from services.core.manager import ModelManager, Served
    from services.core.stages import CallStages


@dataclass(frozen=True, slots=True)
class ScoredAhead:
    """One customer, whom the graph has scored together with others before the turn of the call.

    Implements `services.core.endpoints.Ahead`.
    """

    request: Any
    """Of any service; it has the `customer`."""

    served: Served
    columns: Columns
    raw: list[NDArray[np.float32]]
    """What the graph says: (1,) for each output."""

    decode_seconds: float
    run_seconds: float
    """The call's share."""

    @property
    def seconds(self) -> float:
        return self.decode_seconds + self.run_seconds


class Scorer:
    """Scores customers with the served version. Raises Refusal and ScoringError."""

    def __init__(self, manager: ModelManager) -> None:
        self.manager = manager

    def score_customer(
        self, customer: scoring_pb2.Customer, context: grpc.ServicerContext, stages: CallStages
    ) -> tuple[Served, Score]:
        ahead: ScoredAhead | None = done_ahead()
        if ahead:
            return ahead.served, self._read(ahead, stages)
        served = self.manager.served()
        with stages.decode():
            columns = served.codec.decode_customer(customer)
        stages.tell(served, 1)
        check_alive(context)
        with stages.run():
            score = served.servable.score_one(columns)
        served.metrics.count_one(columns, score)
        return served, score

    def score_together(self, requests: Sequence[Any | None]) -> list[ScoredAhead | None]:
        """Runs the graph once for the customers of several calls; None for those whose own turn is to tell why not."""
        served = self.manager.served()
        began = time.perf_counter()
        decoded = [_try_decode(served, request) for request in requests]
        columns = [one for one in decoded if one is not None]
        decode_seconds = (time.perf_counter() - began) / len(requests)
        if not columns:
            return [None] * len(requests)
        began = time.perf_counter()
        rows = zip(*(raw.reshape(-1, 1) for raw in served.servable.run(Columns.concatenate(columns))), strict=True)
        run_seconds = (time.perf_counter() - began) / len(columns)
        return [
            None if one is None else ScoredAhead(request, served, one, list(next(rows)), decode_seconds, run_seconds)
            for request, one in zip(requests, decoded, strict=True)
        ]

    def _read(self, ahead: ScoredAhead, stages: CallStages) -> Score:
        stages.tell(ahead.served, 1)
        stages.spent("decode", ahead.decode_seconds)
        stages.spent("run", ahead.run_seconds)
        score = ahead.served.servable.score_one(ahead.columns, ahead.raw)
        ahead.served.metrics.count_one(ahead.columns, score)
        return score

    def _score_alone(
        self, served: Served, columns: Columns, context: grpc.ServicerContext, stages: CallStages
    ) -> Scores:
        """The same for a single customer, around whom the arrays' own cost is several times that of the graph."""
        check_alive(context)
        with stages.run():
            score = served.servable.score_one(columns)
        served.metrics.count_one(columns, score)
        return Scores.of_one(score, [output.name for output in served.servable.schema.outputs])

    def score_table(
        self, table: scoring_pb2.CustomerTable, context: grpc.ServicerContext, stages: CallStages
    ) -> tuple[Served, Scores]:
        served = self.manager.served()
        with stages.decode():
            columns = served.codec.decode_table(table)
        return served, self.score(served, columns, context, stages)

    def try_table(
        self, table: scoring_pb2.CustomerTable, context: grpc.ServicerContext, stages: CallStages
    ) -> tuple[Served, Scores] | Refusal:
        """Like `score_table`, for a table of a stream: a failure is an answer, unless the caller has gone."""
        try:
            return self.score_table(table, context, stages)
        except Exception as error:
            refusal = as_refusal(error)
            if refusal.kind in {CANCELLED, EXPIRED}:
                raise
            stages.refuse(refusal.kind)
            return refusal

    def score(self, served: Served, columns: Columns, context: grpc.ServicerContext, stages: CallStages) -> Scores:
        """Scores in slices, and stops at the next where the caller has gone or cannot be answered in time."""
        stages.tell(served, len(columns))
        if len(columns) == 1:
            return self._score_alone(served, columns, context, stages)
        with stages.run():
            parts = []
            for start in range(0, len(columns), SLICE_ROWS):
                check_alive(context)
                served.pace.check(len(columns) - start, context)
                parts.append(_score_slice(served, columns.slice(start, start + SLICE_ROWS)))
            scores = Scores.concatenate(parts)
        served.metrics.count(columns, scores)
        return scores


def _try_decode(served: Served, request: Any | None) -> Columns | None:  # noqa: ANN401 - of any service
    try:
        return served.codec.decode_customer(request.customer) if request else None
    except Refusal:
        return None


def _score_slice(served: Served, columns: Columns) -> Scores:
    started = time.perf_counter()
    scores = served.servable.score_slice(columns)
    served.pace.observe(len(columns), time.perf_counter() - started)
    return scores
