"""What a server writes about those it scores: how many, and never who, nor what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from regulars.churn.v1 import churn_pb2, churn_pb2_grpc
from regulars.open_inference.v2 import open_inference_pb2
from tests.support.bundles import BREAKING, SLOW_ABOVE, awkward_graph, columns, release_bundle
from tests.support.calls import Failure, OpenStream, customer_of, failure_of, predict_batch, table_of
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import running

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

    from model_registry.columns import Columns
    from regulars.scoring.v1 import scoring_pb2

WHO = "dorothea-brooke-73515"
WHERE = "parish-of-lowick"
"""An id and a category that stand nowhere by chance."""

CALLS = 16
"""Of `asked_in_every_way` ten, of `told_what_no_model_takes` six."""

NUMBERS = ("61.803", "27.182", "777.125")
"""How values begin, whatever their last digits are printed as: two within the range of training, one beyond."""

WHAT = "income-of-mr-casaubon"
"""A feature that no model has: a caller's own text where a name should stand."""

SCORED = columns((61.80339, 27.18281, "web"), (61.80339, 777.125, WHERE), (400.0, 27.18281, ""))
REFUSED = columns((float("nan"), 27.18281, WHERE), (float("inf"), 777.125, WHERE))
FAILING = columns((61.80339, BREAKING, WHERE))
SLOW = columns((61.80339, SLOW_ABOVE + 200_000, WHERE))
"""Half a second, which nobody waits for."""


def predict(
    channel: grpc.Channel,
    one: Columns,
    row: int = 0,
    timeout: float = PATIENCE_SECONDS,
    strange: dict[str, float] | None = None,
) -> churn_pb2.PredictChurnResponse:
    request = churn_pb2.PredictChurnRequest(customer=customer_of(one, row, WHO))
    request.customer.numeric.update(strange or {})
    return churn_pb2_grpc.ChurnServiceStub(channel).PredictChurn(request, timeout=timeout)


def asked_in_every_way(channel: grpc.Channel) -> list[Failure]:
    """One customer, a table, a stream; scored, warned of, not scored, refused, and failing within the server."""
    for row in range(len(SCORED)):
        predict(channel, SCORED, row)
    predict_batch(channel, named(SCORED))
    stream = OpenStream(channel)
    stream.ask(1, named(SCORED))
    stream.ask(2, named(REFUSED))
    stream.end()
    return [
        failure_of(lambda: predict(channel, REFUSED, 0)),
        failure_of(lambda: predict(channel, REFUSED, 1)),
        failure_of(lambda: predict_batch(channel, named(REFUSED))),
        failure_of(lambda: predict(channel, FAILING)),
        failure_of(lambda: predict_batch(channel, named(FAILING))),
    ]


def told_what_no_model_takes(channel: grpc.Channel) -> list[Failure]:
    """The caller's own text in place of a name, of a message, of a tensor."""
    table = named(SCORED)
    table.numeric.add(name=WHAT, values=[61.80339] * len(SCORED))
    infer = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        open_inference_pb2.ModelInferRequest.SerializeToString,
        open_inference_pb2.ModelInferResponse.FromString,
    )
    unknown = open_inference_pb2.ModelInferRequest(model_name=WHERE, id=WHO)
    tensor = open_inference_pb2.ModelInferRequest(model_name="churn", id=WHO)
    tensor.inputs.add(name=WHAT, datatype="BYTES", shape=[1]).contents.bytes_contents.append(WHERE.encode())
    raw = channel.unary_unary("/regulars.churn.v1.ChurnService/PredictChurn", lambda data: data, lambda data: data)
    return [
        failure_of(lambda: predict(channel, SCORED, strange={WHAT: 61.80339})),
        failure_of(lambda: predict_batch(channel, table)),
        failure_of(lambda: infer(tensor, timeout=PATIENCE_SECONDS)),
        failure_of(lambda: infer(unknown, timeout=PATIENCE_SECONDS)),
        failure_of(lambda: raw(b"\x0a\xff" + f"{WHO} {WHERE} {WHAT}".encode(), timeout=PATIENCE_SECONDS)),
        failure_of(lambda: predict(channel, SLOW, timeout=0.05)),
    ]


def named(some: Columns) -> scoring_pb2.CustomerTable:
    made = table_of(some)
    made.ids[:] = [f"{WHO}-{row}" for row in range(len(some))]
    return made


def test_neither_metrics_nor_logs_tell_who_was_scored_or_what_is_known_of_them(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1", model=awkward_graph())
    with running(tmp_path, log_level="DEBUG") as server, server.channel() as channel:
        failures = asked_in_every_way(channel)
        strange = told_what_no_model_takes(channel)
        eventually(lambda: len(server.events("call")) == CALLS, "a line in the log for every call")
        page = server.metrics()
    assert [failure.code for failure in failures] == [*["INVALID_ARGUMENT"] * 3, *["INTERNAL"] * 2]
    assert [failure.code for failure in strange] == [
        *("INVALID_ARGUMENT", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "DEADLINE_EXCEEDED")
    ]
    assert 'regulars_warnings_total{feature="channel",kind="unseen_category",model="churn"}' in page
    # A caller is told by name what no model takes; nobody else is.
    assert WHAT in str(strange[0].status)
    assert WHAT not in page + server.text()
    told = {"metrics": page, "log": server.text(), "errors": "".join(f"{one.text} {one.status}" for one in failures)}
    for place, text in told.items():
        for secret in (WHO, WHERE, *NUMBERS):
            assert secret not in text, f"the {place} tell {secret}"


@pytest.mark.parametrize("secret", [WHO, WHERE, *NUMBERS])
def test_the_secrets_are_in_what_was_asked(secret: str) -> None:
    # Else the test above would pass whatever a server wrote.
    request = f"{customer_of(SCORED, 0, WHO)} {customer_of(SCORED, 1, WHO)}"
    assert secret in request
