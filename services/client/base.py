"""What the clients of all scoring services share."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import grpc

from regulars.scoring.v1 import scoring_pb2, scoring_pb2_grpc
from services.client.channel import channel_options
from services.client.coalescing import Coalescer
from services.client.errors import CallError
from services.client.security import UNSECURED, Security
from services.client.stream import Answer, TableStream
from services.client.tables import customer
from services.client.together import Responses, put_together
from services.client.tracing import CallTracing, Metadata
from services.methods import methods_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    Asked = tuple[str, Mapping[str, float | str | None]]
    """A customer's id and features."""

DEADLINE_SECONDS = 2.0
BATCH_DEADLINE_SECONDS = 30.0

GET_MODEL = f"/{scoring_pb2.DESCRIPTOR.services_by_name['ModelService'].full_name}/GetModel"

One = TypeVar("One")
Batch = TypeVar("Batch")
Streamed = TypeVar("Streamed", bound=Answer)
Table = TypeVar("Table")


class ScoringClient(ABC, Generic[One, Batch, Streamed, Table]):
    """Scores customers through a server. Every failed call raises CallError.

    `One`, `Batch` and `Streamed` are the service's responses to a customer, a table and a table of a stream; `Table`
    is what the latter two hold.
    """

    SERVICE: ClassVar[str]
    """The service's full name in the proto."""

    def __init__(self, target: str, security: Security = UNSECURED) -> None:
        """`target` is `host:port` or any other target that gRPC knows.

        Raises:
            SecurityError: the security cannot be had; also at a call, when its token cannot be read.
        """
        self._security = security
        self._tracing = CallTracing(target)
        self._methods = methods_of(self.SERVICE)
        self._channel = security.open_channel(target, channel_options(self._methods.stream))
        self._model = scoring_pb2_grpc.ModelServiceStub(self._channel)
        one, batch, stream = self._methods.one, self._methods.batch, self._methods.stream
        unary, bidirectional = self._channel.unary_unary, self._channel.stream_stream
        self._one = unary(one.path, one.request.SerializeToString, one.response.FromString)
        self._batch = unary(batch.path, batch.request.SerializeToString, batch.response.FromString)
        self._stream = bidirectional(stream.path, stream.request.SerializeToString, stream.response.FromString)
        self._coalescer: Coalescer[Asked, One] = Coalescer(self._predict_alone, self._predict_together)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._coalescer.close()
        self._channel.close()

    def get_model(self, deadline: float = DEADLINE_SECONDS) -> scoring_pb2.GetModelResponse:
        """Describes the served model."""
        response: scoring_pb2.GetModelResponse = self._call(
            GET_MODEL, self._model.GetModel, scoring_pb2.GetModelRequest(), deadline
        )
        return response

    def predict(
        self, identifier: str, features: Mapping[str, float | str | None], deadline: float = DEADLINE_SECONDS
    ) -> One:
        """Scores one customer; `deadline` in seconds.

        What many threads ask at the same time goes in few calls, with the responses and errors of as many.
        """
        # A traced call has a trace of its own; an empty id would not be noticed in a table.
        if self._tracing.is_on or not identifier:
            return self._predict_alone((identifier, features), deadline)
        return self._coalescer.ask((identifier, features), deadline)

    def batch_predict(self, customers: scoring_pb2.CustomerTable, deadline: float = BATCH_DEADLINE_SECONDS) -> Batch:
        """Scores a table, all or none; `deadline` in seconds."""
        method = self._methods.batch
        response: Batch = self._call(method.path, self._batch, method.request(customers=customers), deadline)
        return response

    def stream_predict(self, tables: Iterable[scoring_pb2.CustomerTable]) -> Iterator[Streamed]:
        """Scores a base of any size: one answer a table, in order; a refused table answers with its `error`.

        A stream that breaks is opened again and goes on after the last answer.
        """
        method = self._methods.stream
        with self._tracing.call(method.path) as trace:
            stream: TableStream[Any, Streamed] = TableStream(
                partial(self._open_stream, trace),
                lambda sequence, table: method.request(sequence=sequence, customers=table),
                tables,
            )
            yield from stream.answers()

    def _predict_alone(self, asked: Asked, deadline: float) -> One:
        method = self._methods.one
        response: One = self._call(method.path, self._one, method.request(customer=customer(*asked)), deadline)
        return response

    def _predict_together(self, asked: Sequence[Asked], deadline: float) -> Callable[[int], One]:
        method = self._methods.batch
        request: Any = method.request()
        put_together(request.customers, [features for _, features in asked])
        response = self._call(method.path, self._batch, request, deadline)
        responses = Responses(self._methods, response, self._fill_scored)
        return lambda place: responses.of(place, asked[place][0])

    def _call(self, path: str, method: Callable[..., Any], request: object, deadline: float) -> Any:  # noqa: ANN401 - any method's response
        with self._tracing.call(path) as trace:
            try:
                return method(request, timeout=deadline, metadata=self._security.metadata() + trace)
            except grpc.RpcError as error:
                raise CallError.from_rpc(error) from error

    def _open_stream(self, trace: Metadata, requests: Iterator[Any]) -> Any:  # noqa: ANN401 - gRPC's call
        return self._stream(requests, metadata=self._security.metadata() + trace)

    @staticmethod
    @abstractmethod
    def columns(answers: Table) -> dict[str, NDArray[Any]]:
        """The answers as columns, under the names of offline scoring: `status`, then what the model says."""

    @staticmethod
    @abstractmethod
    def _fill_scored(answer: Any, answers: Table, at: int) -> None:  # noqa: ANN401 - the service's answer for one customer
        """Fills the answer for one customer with what a table says of it, whom the model scored."""


AnyClient = ScoringClient[Any, Any, Any, Any]


def load_client(model: str) -> type[AnyClient]:
    """The client of a model: `services.client.churn.ChurnClient` for churn.

    Raises:
        ModuleNotFoundError: there is no such model.
    """
    module = importlib.import_module(f"services.client.{model}")
    client: type[AnyClient] = getattr(module, f"{model.capitalize()}Client")
    return client
