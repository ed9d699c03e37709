"""From a request's customers to scores: what every servicer does before it fills its own answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_registry.columns import Columns, Score, Scores
from model_registry.servable import SLICE_ROWS
from regulars.scoring.v1 import scoring_pb2
from services.core.errors import CANCELLED, EXPIRED, Refusal, as_refusal, check_alive
from services.core.metrics import ScoreMetrics

if TYPE_CHECKING:
    import grpc

    from services.core.manager import ModelManager, Served

_STATUS_NAMES: dict[int, str] = {
    number: name.removeprefix("SCORE_STATUS_").lower() for name, number in scoring_pb2.ScoreStatus.items() if number
}


class Scorer:
    """Scores customers with the served version. Raises Refusal and ScoringError."""

    def __init__(self, manager: ModelManager, model: str) -> None:
        self.manager = manager
        self._metrics = ScoreMetrics(model)

    def score_customer(self, customer: scoring_pb2.Customer, context: grpc.ServicerContext) -> tuple[Served, Score]:
        served = self.manager.served()
        columns = served.codec.decode_customer(customer)
        check_alive(context)
        score = served.servable.score_one(columns)
        self._metrics.count_one(score, _STATUS_NAMES)
        return served, score

    def score_table(self, table: scoring_pb2.CustomerTable, context: grpc.ServicerContext) -> tuple[Served, Scores]:
        served = self.manager.served()
        return served, self._score(served, served.codec.decode_table(table), context)

    def try_table(
        self, table: scoring_pb2.CustomerTable, context: grpc.ServicerContext
    ) -> tuple[Served, Scores] | Refusal:
        """Like `score_table`, for a table of a stream: a failure is an answer, unless the caller has gone."""
        try:
            return self.score_table(table, context)
        except Exception as error:
            refusal = as_refusal(error)
            if refusal.kind in {CANCELLED, EXPIRED}:
                raise
            return refusal

    def _score(self, served: Served, columns: Columns, context: grpc.ServicerContext) -> Scores:
        parts = []
        for start in range(0, len(columns), SLICE_ROWS):
            check_alive(context)
            parts.append(served.servable.score_slice(columns.slice(start, start + SLICE_ROWS)))
        scores = Scores.concatenate(parts)
        self._metrics.count(scores, _STATUS_NAMES)
        return scores
