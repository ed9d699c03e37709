"""From a request's customers to scores: what every servicer does before it fills its own answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from model_registry.columns import Scores
from model_registry.servable import SLICE_ROWS
from services.core.errors import CANCELLED, EXPIRED, Refusal, as_refusal, check_alive

if TYPE_CHECKING:
    import grpc

    from model_registry.columns import Columns, Score
    from regulars.scoring.v1 import scoring_pb2
    from services.core.manager import ModelManager, Served
    from services.core.stages import CallStages


class Scorer:
    """Scores customers with the served version. Raises Refusal and ScoringError."""

    def __init__(self, manager: ModelManager) -> None:
        self.manager = manager

    def score_customer(
        self, customer: scoring_pb2.Customer, context: grpc.ServicerContext, stages: CallStages
    ) -> tuple[Served, Score]:
        served = self.manager.served()
        with stages.decode():
            columns = served.codec.decode_customer(customer)
        stages.tell(served, 1)
        check_alive(context)
        with stages.run():
            score = served.servable.score_one(columns)
        served.metrics.count_one(columns, score)
        return served, score

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


def _score_slice(served: Served, columns: Columns) -> Scores:
    started = time.perf_counter()
    scores = served.servable.score_slice(columns)
    served.pace.observe(len(columns), time.perf_counter() - started)
    return scores
