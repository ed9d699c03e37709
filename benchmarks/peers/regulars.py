"""Regulars, by its own service and by the Open Inference Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmarks.peers.peer import ROOT, Peer, Question, Start, Wire
from benchmarks.peers.tensors import INFER, features_request, read_scores
from regulars.churn.v1 import churn_pb2
from services.client import customer, customer_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.peers.subject import Subject
    from model_registry.columns import Columns
    from regulars.scoring.v1 import scoring_pb2

CHURN = "/regulars.churn.v1.ChurnService"
STREAM = f"{CHURN}/StreamPredictChurn"


class Regulars(Peer):
    """The server as `regulars serve` starts it, without settings of any kind."""

    name = "Regulars"
    settings = "as it comes; metrics, range checks and percentiles of every score included"
    wire: ClassVar[Wire] = "gRPC"
    environment = ROOT / ".venv-serving"
    packages = ("grpcio", "protobuf", "onnxruntime", "numpy")
    clients: ClassVar[tuple[str, ...]] = ("regulars threads",)

    def prepare(self, subject: Subject, folder: Path, ports: tuple[int, int, int]) -> Start:  # noqa: ARG002 - a bundle is there already
        variables = {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}",
            "REGULARS_BUNDLES": str(subject.bundles),
            "REGULARS_PORT": str(ports[0]),
            "REGULARS_METRICS_PORT": str(ports[1]),
        }
        return Start([self.program("python"), "-m", "services.core", "churn"], variables)

    def question(self, subject: Subject, rows: Columns) -> Question:
        if len(rows) > 1:
            message = churn_pb2.BatchPredictChurnRequest(customers=table(subject, rows))
            return Question(f"{CHURN}/BatchPredictChurn", message.SerializeToString())
        numeric = zip((feature.name for feature in subject.schema.numeric), rows.numeric[0].tolist(), strict=True)
        texts = zip((feature.name for feature in subject.schema.categorical), rows.categorical[0], strict=True)
        one = churn_pb2.PredictChurnRequest(customer=customer("customer", dict([*numeric, *texts])))
        return Question(f"{CHURN}/PredictChurn", one.SerializeToString())

    def scores(self, answer: bytes) -> NDArray[np.float64]:
        many = churn_pb2.BatchPredictChurnResponse.FromString(answer).predictions.churn_probabilities
        if many:
            return np.asarray(many, np.float64)
        return np.asarray([churn_pb2.PredictChurnResponse.FromString(answer).prediction.churn_probability])

    def bulk(self, subject: Subject, rows: Columns) -> Question:
        """A table of a stream, its sequence number still to come."""
        message = churn_pb2.StreamPredictChurnRequest(customers=table(subject, rows))
        return Question(STREAM, message.SerializeToString())


class OpenInference(Regulars):
    """The same server, asked in tensors."""

    name = "Regulars, Open Inference"
    settings = "the same server, a raw tensor a feature"
    clients = ()

    def question(self, subject: Subject, rows: Columns) -> Question:
        return Question(INFER, features_request(subject.schema, rows).SerializeToString())

    def scores(self, answer: bytes) -> NDArray[np.float64]:
        return read_scores(answer)


def table(subject: Subject, rows: Columns) -> scoring_pb2.CustomerTable:
    schema = subject.schema
    numeric = {feature.name: rows.numeric[:, at] for at, feature in enumerate(schema.numeric)}
    texts = {feature.name: rows.categorical[:, at] for at, feature in enumerate(schema.categorical)}
    return customer_table([f"customer-{row}" for row in range(len(rows))], numeric, texts)
