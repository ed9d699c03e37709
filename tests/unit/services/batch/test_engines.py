"""What an engine refuses is what a server refuses, said before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from model_registry.frame import FrameError
from model_registry.servable import Servable
from regulars.churn.v1 import churn_pb2
from regulars.scoring.v1 import scoring_pb2
from services.batch.customers import InputError
from services.batch.engines import TableRefusedError, score_locally, score_remotely
from services.client import ChurnClient, customer_table
from services.core.codec import Codec
from services.core.errors import INVALID, Refusal, Violation
from tests.support.bundles import SCHEMA, make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from model_registry.schema import Schema
    from regulars.scoring.v1.scoring_pb2 import CustomerTable

    Engine = Callable[[Schema, Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]

STRICT = replace(
    SCHEMA, features=tuple(replace(feature, nullable=feature.name == "frequency") for feature in SCHEMA.features)
)
GOOD = {"customer_id": ["a", "b"], "recency_days": [1.0, 2.0], "frequency": [1.0, np.nan], "channel": ["web", "shop"]}
UNUSABLE = [
    ("recency_days", [1.0, np.nan], "recency_days is missing and the model needs it"),
    ("recency_days", [1.0, None], "recency_days is missing and the model needs it"),
    ("recency_days", [1.0, 1e39], "recency_days is infinite or beyond float32"),
    ("frequency", [1.0, -np.inf], "frequency is infinite or beyond float32"),
    ("channel", ["web", None], "channel is missing and the model needs it"),
    ("channel", ["web", ""], "channel is missing and the model needs it"),
]


class FakeClient(ChurnClient):
    """Answers a table with the rows it holds, except for the one that it refuses."""

    def __init__(self, refused: int | None = None) -> None:
        self.refused = refused
        self.tables: list[CustomerTable] = []

    def stream_predict(self, tables: Iterable[CustomerTable]) -> Iterator[churn_pb2.StreamPredictChurnResponse]:
        for number, table in enumerate(tables):
            self.tables.append(table)
            answer = churn_pb2.StreamPredictChurnResponse(sequence=number)
            answer.model_version.version = str(number)
            answer.model_version.bundle_digest = f"digest of {number}"
            if number == self.refused:
                answer.error.CopyFrom(Refusal(INVALID, [Violation("customers.ids[1]", "is odd")]).to_status())
            else:
                count = len(table.ids)
                answer.predictions.customer_ids.extend(table.ids)
                answer.predictions.statuses.extend([scoring_pb2.SCORE_STATUS_OK] * count)
                answer.predictions.churn_probabilities.extend([0.5] * count)
                answer.predictions.percentiles.extend([50.0] * count)
                answer.predictions.risk_bands.extend([churn_pb2.RISK_BAND_MEDIUM] * count)
            yield answer


@pytest.fixture(params=["here", "through a server"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    def here(schema: Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return score_locally(Servable(make_bundle(tmp_path / "bundle", schema=schema)), batches)

    def through_a_server(schema: Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return score_remotely(FakeClient(), schema, batches, set())

    return here if request.param == "here" else through_a_server


def batch(**changes: list[Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({**GOOD, **changes})


@pytest.mark.parametrize(("column", "values", "complaint"), UNUSABLE)
def test_a_customer_who_cannot_be_scored_is_named(
    engine: Engine, column: str, values: list[Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=f"{complaint}, for example that of customer_id 'b'"):
        list(engine(STRICT, [batch(**{column: values})]))


@pytest.mark.parametrize(("column", "values", "complaint"), UNUSABLE)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_server_would_refuse_that_customer_too(column: str, values: list[Any], complaint: str) -> None:
    rows = {**GOOD, column: values}
    table = customer_table(
        rows["customer_id"],  # type: ignore[arg-type]  # texts
        {name: np.array(rows[name], np.float64) for name in ("recency_days", "frequency")},
        {"channel": rows["channel"]},  # type: ignore[dict-item]  # texts
    )
    with pytest.raises(Refusal):
        Codec(STRICT, 10).decode_table(table)


def test_what_may_be_missing_is_scored(engine: Engine) -> None:
    (scores,) = engine(SCHEMA, [batch(frequency=[None, np.nan], channel=[None, ""])])
    assert scores.column("customer_id").to_pylist() == ["a", "b"]
    assert scores.column("status").to_pylist() == ["OK", "OK"]


def test_a_column_of_the_wrong_kind_is_said_as_it_is(engine: Engine) -> None:
    with pytest.raises(FrameError, match="channel must be text"):
        list(engine(SCHEMA, [batch(channel=[1, 2])]))


def test_a_table_that_the_server_refuses_says_where_it_begins_and_why() -> None:
    batches = [batch(), batch(customer_id=["c", "d"]), batch(customer_id=["e", "f"])]
    with pytest.raises(TableRefusedError) as refused:
        list(score_remotely(FakeClient(refused=1), SCHEMA, batches, set()))
    assert "starts with customer_id 'c' was refused" in str(refused.value)
    assert "customers.ids[1]: is odd" in str(refused.value)


def test_every_version_that_answered_is_named() -> None:
    versions: set[str] = set()
    batches = [batch(), batch(customer_id=["c", "d"]), batch(customer_id=["e", "f"])]
    list(score_remotely(FakeClient(), SCHEMA, batches, versions))
    assert versions == {"0 (digest of 0)", "1 (digest of 1)", "2 (digest of 2)"}
