"""Client of ChurnService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc
import numpy as np

from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.client.channel import open_channel
from services.client.errors import CallError
from services.client.stream import TableStream
from services.client.tables import customer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from numpy.typing import NDArray

DEADLINE_SECONDS = 2.0
BATCH_DEADLINE_SECONDS = 30.0


class ChurnClient:
    """Scores customers through a churn server. Every failed call raises CallError."""

    def __init__(self, target: str) -> None:
        self._channel = open_channel(target)
        self._churn = churn_pb2_grpc.ChurnServiceStub(self._channel)
        self._model = scoring_pb2_grpc.ModelServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def get_model(self, deadline: float = DEADLINE_SECONDS) -> scoring_pb2.GetModelResponse:
        """Describes the served model."""
        try:
            return self._model.GetModel(scoring_pb2.GetModelRequest(), timeout=deadline)
        except grpc.RpcError as error:
            raise CallError.from_rpc(error) from error

    def predict(
        self, identifier: str, features: Mapping[str, float | str | None], deadline: float = DEADLINE_SECONDS
    ) -> churn_pb2.PredictChurnResponse:
        """Scores one customer; `deadline` in seconds."""
        request = churn_pb2.PredictChurnRequest(customer=customer(identifier, features))
        try:
            return self._churn.PredictChurn(request, timeout=deadline)
        except grpc.RpcError as error:
            raise CallError.from_rpc(error) from error

    def batch_predict(
        self, customers: scoring_pb2.CustomerTable, deadline: float = BATCH_DEADLINE_SECONDS
    ) -> churn_pb2.BatchPredictChurnResponse:
        """Scores a table, all or none; `deadline` in seconds."""
        request = churn_pb2.BatchPredictChurnRequest(customers=customers)
        try:
            return self._churn.BatchPredictChurn(request, timeout=deadline)
        except grpc.RpcError as error:
            raise CallError.from_rpc(error) from error

    def stream_predict(
        self, tables: Iterable[scoring_pb2.CustomerTable]
    ) -> Iterator[churn_pb2.StreamPredictChurnResponse]:
        """Scores a base of any size: one answer a table, in order; a refused table answers with its `error`.

        A stream that breaks is opened again and goes on after the last answer.
        """
        stream: TableStream[churn_pb2.StreamPredictChurnRequest, churn_pb2.StreamPredictChurnResponse] = TableStream(
            self._churn.StreamPredictChurn,
            lambda sequence, table: churn_pb2.StreamPredictChurnRequest(sequence=sequence, customers=table),
            tables,
        )
        return stream.answers()


def prediction_columns(predictions: churn_pb2.ChurnPredictionTable) -> dict[str, NDArray[np.generic]]:
    """The answers as columns, named as offline scoring names them."""
    bands = np.array([*_BAND_NAMES.values()], object)
    return {
        "status": np.array([_STATUS_NAMES[status] for status in predictions.statuses], object),
        "churn_probability": np.asarray(predictions.churn_probabilities, np.float32),
        "churn_probability_percentile": np.asarray(predictions.percentiles, np.float32),
        "churn_probability_band": bands[np.asarray(predictions.risk_bands, np.intp)],
    }


_STATUS_NAMES = {number: name.removeprefix("SCORE_STATUS_") for name, number in scoring_pb2.ScoreStatus.items()}
_BAND_NAMES = {
    number: name.removeprefix("RISK_BAND_") if number else None for name, number in churn_pb2.RiskBand.items()
}
