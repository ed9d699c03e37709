"""ChurnService: churn requests to columns, scores to churn answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_registry.bundle import BundleError
from model_registry.schema import Status
from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from services.core.errors import Refusal
from services.core.scorer import Scorer, column_warnings, row_warnings
from services.wire import fill, move_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from model_registry.columns import Score, Scores
    from model_registry.schema import Schema
    from regulars.scoring.v1 import scoring_pb2
    from services.core.endpoints import Endpoints
    from services.wire import Column

SERVICE: str = churn_pb2.DESCRIPTOR.services_by_name["ChurnService"].full_name
PORT = 50051

OUTPUT = "churn_probability"
BANDS = ("LOW", "MEDIUM", "HIGH")


def check(schema: Schema) -> None:
    """Raises BundleError unless the schema yields a churn probability with the bands of RiskBand."""
    outputs = {output.name: output for output in schema.outputs}
    if OUTPUT not in outputs or tuple(band.name for band in outputs[OUTPUT].bands) != BANDS:
        raise BundleError(f"the bundle has no output {OUTPUT} with bands {', '.join(BANDS)}; retrain churn")


def register(scorer: Scorer, endpoints: Endpoints) -> None:
    churn_pb2_grpc.add_ChurnServiceServicer_to_server(ChurnServicer(scorer), endpoints)  # type: ignore[arg-type]  # Endpoints takes the server's place


class ChurnServicer(churn_pb2_grpc.ChurnServiceServicer):
    """The three RPCs over one scorer."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def PredictChurn(  # noqa: N802 - the method's name in the proto
        self, request: churn_pb2.PredictChurnRequest, context: grpc.ServicerContext
    ) -> churn_pb2.PredictChurnResponse:
        served, score = self._scorer.score_customer(request.customer, context)
        return churn_pb2.PredictChurnResponse(
            model_version=served.version,
            horizon_days=served.manifest.horizon_days,
            prediction=_prediction(request.customer.id, score),
        )

    def BatchPredictChurn(  # noqa: N802 - the method's name in the proto
        self, request: churn_pb2.BatchPredictChurnRequest, context: grpc.ServicerContext
    ) -> churn_pb2.BatchPredictChurnResponse:
        served, scores = self._scorer.score_table(request.customers, context)
        response = churn_pb2.BatchPredictChurnResponse(
            model_version=served.version, horizon_days=served.manifest.horizon_days
        )
        _fill_predictions(response.predictions, request.customers, scores)
        return response

    def StreamPredictChurn(  # noqa: N802 - the method's name in the proto
        self, requests: Iterator[churn_pb2.StreamPredictChurnRequest], context: grpc.ServicerContext
    ) -> Iterator[churn_pb2.StreamPredictChurnResponse]:
        for request in requests:
            yield self._answer(request, context)

    def _answer(
        self, request: churn_pb2.StreamPredictChurnRequest, context: grpc.ServicerContext
    ) -> churn_pb2.StreamPredictChurnResponse:
        answer = self._scorer.try_table(request.customers, context)
        if isinstance(answer, Refusal):
            return churn_pb2.StreamPredictChurnResponse(sequence=request.sequence, error=answer.to_status())
        served, scores = answer
        response = churn_pb2.StreamPredictChurnResponse(
            sequence=request.sequence, model_version=served.version, horizon_days=served.manifest.horizon_days
        )
        _fill_predictions(response.predictions, request.customers, scores)
        return response


def _prediction(customer_id: str, score: Score) -> churn_pb2.ChurnPrediction:
    prediction = churn_pb2.ChurnPrediction(
        customer_id=customer_id,
        status=int(score.status),  # type: ignore[arg-type]  # the numbers are those of ScoreStatus
        warnings=row_warnings(score),
    )
    if score.status == Status.OK:
        prediction.churn_probability = score.values[OUTPUT]
        prediction.percentile = score.percentiles[OUTPUT]
        prediction.risk_band = score.bands[OUTPUT] + 1  # type: ignore[assignment]  # 0 is UNSPECIFIED
    return prediction


def _fill_predictions(
    table: churn_pb2.ChurnPredictionTable, customers: scoring_pb2.CustomerTable, scores: Scores
) -> None:
    columns: dict[str, Column] = {
        "statuses": scores.statuses,
        "churn_probabilities": scores.values[OUTPUT],
        "percentiles": scores.percentiles[OUTPUT],
        # 0 is UNSPECIFIED.
        "risk_bands": (scores.bands[OUTPUT] + 1).astype(np.uint8),
    }
    table.warnings.extend(column_warnings(scores))
    move_ids(customers, table)
    fill(table, columns)
