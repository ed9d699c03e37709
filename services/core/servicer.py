"""The three methods of every scoring service, over one scorer. What a model answers stands in its `Answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from model_registry.readings import ScoringError
from services.core.errors import Refusal
from services.core.metrics import SAMPLE
from services.core.stages import StageMetrics
from services.methods import Method, methods_of
from services.wire import move_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.protobuf.message import Message

    from model_registry.columns import Scores
    from regulars.scoring.v1.scoring_pb2 import CustomerTable
    from services.core.endpoints import Endpoints
    from services.core.manager import Served
    from services.core.scorer import ScoredAhead, Scorer


class Servicer:
    """Answers with the scores of whatever version is served."""

    def __init__(self, service: str, scorer: Scorer) -> None:
        """`service` is the full name in the proto."""
        self._service = service
        self._methods = methods_of(service)
        self._one = StageMetrics(service, self._methods.one.name, every=SAMPLE)
        self._batch = StageMetrics(service, self._methods.batch.name)
        self._stream = StageMetrics(service, self._methods.stream.name)
        self._scorer = scorer

    def register(self, endpoints: Endpoints) -> None:
        one, batch, stream = self._methods.one, self._methods.batch, self._methods.stream
        handlers = {
            one.name: _handler(grpc.unary_unary_rpc_method_handler, self.score_one, one),
            batch.name: _handler(grpc.unary_unary_rpc_method_handler, self.score_batch, batch),
            stream.name: _handler(grpc.stream_stream_rpc_method_handler, self.score_stream, stream),
        }
        endpoints.add_registered_method_handlers(self._service, handlers, {one.name: self.score_together})

    def score_together(self, messages: Sequence[bytes]) -> list[ScoredAhead | None]:
        """What several calls for one customer each can share; a call that cannot tells why in its own turn."""
        try:
            return self._scorer.score_together([_try_parse(self._methods.one, message) for message in messages])
        except (Refusal, ScoringError):
            return [None] * len(messages)

    def score_one(self, request: Any, context: grpc.ServicerContext) -> Message:  # noqa: ANN401 - of any service
        stages = self._one.of_call()
        stages.start()
        served, score = self._scorer.score_customer(request.customer, context, stages)
        method = self._methods.one
        with stages.encode():
            response = method.response(model_version=served.version, **served.answers.head)
            served.answers.fill_row(getattr(response, method.answer), request.customer.id, score)
        return response

    def score_batch(self, request: Any, context: grpc.ServicerContext) -> Message:  # noqa: ANN401 - of any service
        stages = self._batch.of_call()
        stages.start()
        served, scores = self._scorer.score_table(request.customers, context, stages)
        with stages.encode():
            return _answer(self._methods.batch, request.customers, served, scores)

    def score_stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Message]:
        # Its tables wait with their sender, who may send the next when the one before is answered.
        self._stream.of_call().start()
        for request in requests:
            yield self._answer_of_stream(request, context)

    def _answer_of_stream(self, request: Any, context: grpc.ServicerContext) -> Message:  # noqa: ANN401 - of any service
        method = self._methods.stream
        stages = self._stream.of_call()
        answer = self._scorer.try_table(request.customers, context, stages)
        if isinstance(answer, Refusal):
            return method.response(sequence=request.sequence, error=answer.to_status())
        served, scores = answer
        with stages.encode():
            return _answer(method, request.customers, served, scores, sequence=request.sequence)


def _answer(method: Method, customers: CustomerTable, served: Served, scores: Scores, **head: int) -> Message:
    """The response to a table, whose ids move into it."""
    response = method.response(model_version=served.version, **served.answers.head, **head)
    table = getattr(response, method.answer)
    move_ids(customers, table)
    served.answers.fill_table(table, scores)
    return response


def _try_parse(method: Method, message: bytes) -> Any:  # noqa: ANN401 - of any service
    try:
        return method.request.FromString(message)
    except DecodeError:
        return None


def _handler(
    make: Callable[..., grpc.RpcMethodHandler[Any, Any]], behaviour: Callable[..., Any], method: Method
) -> grpc.RpcMethodHandler[Any, Any]:
    return make(behaviour, method.request.FromString, method.response.SerializeToString)
