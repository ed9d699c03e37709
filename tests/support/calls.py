"""Calling the churn service in tests, and reading what a failed call says."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2

from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from regulars.scoring.v1 import scoring_pb2
from tests.support.polling import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_registry.columns import Columns


def features_of(columns: Columns, row: int = 0) -> dict[str, float | str | None]:
    """One row of the test bundles' features, as clients take them."""
    recency, frequency = columns.numeric[row].tolist()
    return {"recency_days": recency, "frequency": frequency, "channel": columns.categorical[row, 0] or None}


def customer_of(columns: Columns, row: int = 0, identifier: str = "") -> scoring_pb2.Customer:
    """One row of the test bundles' features; what is missing is left out."""
    recency, frequency = columns.numeric[row].tolist()
    channel = columns.categorical[row, 0]
    numeric = {"recency_days": recency, "frequency": frequency}
    return scoring_pb2.Customer(
        id=identifier or f"c{row}",
        numeric={name: value for name, value in numeric.items() if not np.isnan(value)},
        categorical={"channel": channel} if channel else {},
    )


def table_of(columns: Columns) -> scoring_pb2.CustomerTable:
    """All rows of the test bundles' features, under the ids of `customer_of`."""
    texts = columns.categorical[:, 0].tolist()
    dictionary = sorted(set(texts) - {""})
    codes = {text: code for code, text in enumerate(dictionary)} | {"": -1}
    return scoring_pb2.CustomerTable(
        ids=[f"c{row}" for row in range(len(columns))],
        numeric=[
            scoring_pb2.NumericColumn(name="recency_days", values=columns.numeric[:, 0].tolist()),
            scoring_pb2.NumericColumn(name="frequency", values=columns.numeric[:, 1].tolist()),
        ],
        categorical=[
            scoring_pb2.CategoricalColumn(name="channel", dictionary=dictionary, codes=[codes[text] for text in texts])
        ],
    )


def predict(
    channel: grpc.Channel, columns: Columns, row: int = 0, timeout: float = PATIENCE_SECONDS
) -> churn_pb2.PredictChurnResponse:
    request = churn_pb2.PredictChurnRequest(customer=customer_of(columns, row))
    return churn_pb2_grpc.ChurnServiceStub(channel).PredictChurn(request, timeout=timeout)


def predict_batch(channel: grpc.Channel, table: scoring_pb2.CustomerTable) -> churn_pb2.BatchPredictChurnResponse:
    request = churn_pb2.BatchPredictChurnRequest(customers=table)
    return churn_pb2_grpc.ChurnServiceStub(channel).BatchPredictChurn(request, timeout=PATIENCE_SECONDS)


class OpenStream:
    """A stream that stays open between its tables."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: queue.SimpleQueue[churn_pb2.StreamPredictChurnRequest | None] = queue.SimpleQueue()
        stub = churn_pb2_grpc.ChurnServiceStub(channel)
        self.call = stub.StreamPredictChurn(iter(self._requests.get, None), timeout=PATIENCE_SECONDS)

    def send(self, sequence: int, table: scoring_pb2.CustomerTable) -> None:
        self._requests.put(churn_pb2.StreamPredictChurnRequest(sequence=sequence, customers=table))

    def ask(self, sequence: int, table: scoring_pb2.CustomerTable) -> churn_pb2.StreamPredictChurnResponse:
        self.send(sequence, table)
        return next(self.call)

    def end(self) -> None:
        self._requests.put(None)


class Failure:
    """What a caller is told of a failed call."""

    def __init__(self, error: grpc.RpcError) -> None:
        assert isinstance(error, grpc.Call)
        self.code: str = error.code().name
        self.text: str = error.details() or ""
        self.trailers: dict[str, Any] = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
        packed = self.trailers.get("grpc-status-details-bin")
        self.status: status_pb2.Status | None = status_pb2.Status.FromString(packed) if packed else None

    def detail(self, message: Any) -> Any:
        """The detail of that type, or None."""
        return unpack(self.status, message) if self.status else None

    @property
    def reason(self) -> str | None:
        info = self.detail(error_details_pb2.ErrorInfo())
        return info.reason if info else None

    @property
    def fields(self) -> list[str]:
        bad_request = self.detail(error_details_pb2.BadRequest())
        return [violation.field for violation in bad_request.field_violations] if bad_request else []


def unpack(status: status_pb2.Status, message: Any) -> Any:
    return next((message for detail in status.details if detail.Unpack(message)), None)


def failure_of(call: Callable[[], object]) -> Failure:
    """Calls, and reads how it failed."""
    try:
        call()
    except grpc.RpcError as error:
        return Failure(error)
    raise AssertionError("the call did not fail")
