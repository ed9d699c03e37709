"""What a model is asked and what comes back as columns, from a bundle and from a server."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.bundle import BundleError
from model_registry.schema import Distribution
from model_registry.servable import Servable
from regulars.churn.v1 import churn_pb2
from regulars.scoring.v1 import scoring_pb2
from services.batch import scorers
from services.batch.errors import ChangedError, InputError
from services.batch.scorers import (
    BUNDLE_ROWS,
    SERVER_BYTES,
    SERVER_ROWS,
    BundleModel,
    ServerModel,
    TableRefusedError,
)
from services.client import ChurnClient, Security
from services.core.codec import Codec
from services.core.description import describe
from services.core.errors import INVALID, Refusal, Violation
from tests.support.bundles import CHURN, SCHEMA, make_bundle, manifest, random_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from model_registry.columns import Columns
    from regulars.scoring.v1.scoring_pb2 import CustomerTable
    from services.batch.scorers import Answers

DIGEST = "d" * 64
VERSION = scoring_pb2.ModelVersion(name="churn", version="7", bundle_digest=DIGEST)
SPREAD = Distribution((0.25, 0.5), (0.5, 0.25, 0.125), missing=0.125, unseen=0.0, customers=400)


class FakeClient(ChurnClient):
    """Answers every table with its customers' recency as their probability, as the class is told."""

    served: ClassVar[scoring_pb2.GetModelResponse]
    refused: ClassVar[int | None]
    changed: ClassVar[int | None]
    tables: ClassVar[list[CustomerTable]]

    def __init__(self, target: str, security: Security) -> None:
        self.asked = (target, security)

    def close(self) -> None:
        pass

    def get_model(self, deadline: float = 0.0) -> scoring_pb2.GetModelResponse:
        return self.served

    def stream_predict(self, tables: Iterable[CustomerTable]) -> Iterator[churn_pb2.StreamPredictChurnResponse]:
        for number, table in enumerate(tables):
            self.tables.append(table)
            answer = churn_pb2.StreamPredictChurnResponse(sequence=number, model_version=VERSION)
            if number == self.changed:
                answer.model_version.version, answer.model_version.bundle_digest = "8", "e" * 64
            if number == self.refused:
                answer.error.CopyFrom(Refusal(INVALID, [Violation("customers.ids[1]", "is odd")]).to_status())
            else:
                count = len(table.ids)
                answer.predictions.customer_ids.extend(table.ids)
                answer.predictions.statuses.extend([scoring_pb2.SCORE_STATUS_OK] * count)
                answer.predictions.churn_probabilities.extend(table.numeric[0].values)
                answer.predictions.percentiles.extend([50.0] * count)
                answer.predictions.risk_bands.extend([churn_pb2.RISK_BAND_MEDIUM] * count)
            yield answer


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    schema = replace(SCHEMA, outputs=tuple(replace(output, distribution=SPREAD) for output in SCHEMA.outputs))
    FakeClient.served = scoring_pb2.GetModelResponse(
        model_version=VERSION,
        model=describe(manifest(schema=schema)),
        limits=scoring_pb2.Limits(max_rows=10_000, max_message_bytes=2**20),
    )
    FakeClient.refused = FakeClient.changed = None
    FakeClient.tables = []
    monkeypatch.setattr(scorers, "load_client", lambda _name: FakeClient)
    return FakeClient


def score(model: BundleModel | ServerModel, ids: list[str], columns: Columns) -> Answers:
    with model.opened() as scorer:
        parts = list(scorer.score(ids, columns))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def ids_of(columns: Columns) -> list[str]:
    return [f"customer {row}" for row in range(len(columns))]


class TestABundle:
    def test_it_says_what_its_servable_does_however_many_are_asked_for(self, tmp_path: Path) -> None:
        model = BundleModel(make_bundle(tmp_path / "bundle"), "3")
        columns = random_columns(2 * BUNDLE_ROWS + 1)
        answers = score(model, ids_of(columns), columns)
        expected = Servable(model.bundle).score(columns)
        scored = answers["status"] == "OK"
        assert scored.any()
        assert not scored.all()
        np.testing.assert_array_equal(
            answers["churn_probability"][scored], expected.values["churn_probability"][scored]
        )
        assert (model.name, model.version, model.digest) == ("churn", "3", model.bundle.digest)

    def test_it_answers_to_nobody_with_the_columns_of_everybody(self, tmp_path: Path) -> None:
        model = BundleModel(make_bundle(tmp_path / "bundle"), "3")
        one = score(model, ["a"], random_columns(1))
        with model.opened() as scorer:
            nobody = scorer.nobody()
        assert {name: values.dtype for name, values in nobody.items()} == {
            name: values.dtype for name, values in one.items()
        }
        assert {len(values) for values in nobody.values()} == {0}

    def test_one_that_does_not_reproduce_its_golden_rows_is_not_loaded(self, tmp_path: Path) -> None:
        bundle = CHURN.make(tmp_path / "bundle")
        # Another half for everybody.
        expected = {name: values + 0.5 for name, values in bundle.golden.expected.items()}
        with (
            pytest.raises(BundleError, match="does not reproduce the bundle's golden rows"),
            BundleModel(replace(bundle, golden=replace(bundle.golden, expected=expected)), "3").opened(),
        ):
            pass


class TestAServer:
    def test_it_is_known_by_what_it_says_of_itself(self, client: type[FakeClient]) -> None:
        model = ServerModel.at("churn", "here:1", Security())
        assert (model.name, model.version, model.digest, model.target) == ("churn", "7", DIGEST, "here:1")
        assert [(one.name, one.kind, one.nullable) for one in model.schema.features] == [
            (one.name, one.kind, one.nullable) for one in SCHEMA.features
        ]
        (told,), (output,) = model.schema.outputs, SCHEMA.outputs
        assert (told.name, told.unit, told.bands, told.distribution) == (
            output.name,
            output.unit,
            output.bands,
            SPREAD,
        )
        assert (model.most_rows, model.most_bytes) == (SERVER_ROWS, 2**20)

    def test_of_an_earlier_release_it_does_not_say_its_limits_and_distributions(self, client: type[FakeClient]) -> None:
        client.served.ClearField("limits")
        client.served.model.outputs[0].ClearField("distribution")
        model = ServerModel.at("churn", "here:1")
        assert (model.most_rows, model.most_bytes) == (SERVER_ROWS, SERVER_BYTES)
        assert model.schema.outputs[0].distribution is None

    def test_of_another_model_it_is_refused(self, client: type[FakeClient]) -> None:
        client.served.model_version.name = "cltv"
        with pytest.raises(InputError, match="the server at here:1 serves cltv, not churn; give the port of churn"):
            ServerModel.at("churn", "here:1")

    def test_it_travels_to_other_processes(self, client: type[FakeClient]) -> None:
        model = ServerModel.at("churn", "here:1", Security(token="secret"))
        assert pickle.loads(pickle.dumps(model)) == model

    @given(
        rows=st.integers(1, 60), most_rows=st.integers(1, 70), most_bytes=st.sampled_from([1, 200, 500, 1000, 2**20])
    )
    def test_its_limits_are_kept_and_everybody_is_asked_for_once_in_order(
        self, rows: int, most_rows: int, most_bytes: int
    ) -> None:
        columns = random_columns(rows, seed=rows)
        columns.numeric[:, 0] = np.arange(rows)
        model = ServerModel("churn", "7", DIGEST, SCHEMA, "here:1", most_rows=most_rows, most_bytes=most_bytes)
        FakeClient.refused = FakeClient.changed = None
        FakeClient.tables = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scorers, "load_client", lambda _name: FakeClient)
            answers = score(model, ids_of(columns), columns)
        assert answers["churn_probability"].tolist() == list(range(rows))
        assert [name for table in FakeClient.tables for name in table.ids] == ids_of(columns)
        for sequence, table in enumerate(FakeClient.tables):
            assert len(table.ids) <= most_rows
            message = churn_pb2.StreamPredictChurnRequest(sequence=sequence, customers=table)
            # Less than one customer cannot be sent.
            assert message.ByteSize() <= most_bytes or len(table.ids) == 1

    def test_it_is_sent_what_was_to_be_scored(self, client: type[FakeClient]) -> None:
        columns = random_columns(500, seed=3)
        columns.numeric[:, 0] = np.abs(columns.numeric[:, 0])
        score(ServerModel.at("churn", "here:1"), ids_of(columns), columns)
        (table,) = client.tables
        arrived = Codec(SCHEMA, 500).decode_table(table)
        np.testing.assert_array_equal(arrived.numeric, columns.numeric)
        np.testing.assert_array_equal(arrived.categorical, columns.categorical)

    def test_a_table_that_it_refuses_is_said_with_where_it_begins_and_why(self, client: type[FakeClient]) -> None:
        client.refused = 1
        columns = random_columns(SERVER_ROWS + 1)
        with pytest.raises(TableRefusedError) as refused:
            score(ServerModel.at("churn", "here:1"), ids_of(columns), columns)
        assert f"starts with customer_id 'customer {SERVER_ROWS}' was refused" in str(refused.value)
        assert "customers.ids[1]: is odd" in str(refused.value)

    def test_another_version_in_the_middle_ends_the_run(self, client: type[FakeClient]) -> None:
        client.changed = 1
        columns = random_columns(SERVER_ROWS + 1)
        with pytest.raises(ChangedError, match="now serves churn version 8, and the run began with 7"):
            score(ServerModel.at("churn", "here:1"), ids_of(columns), columns)

    def test_it_answers_to_nobody_with_the_columns_of_everybody(self, client: type[FakeClient]) -> None:
        with ServerModel.at("churn", "here:1").opened() as scorer:
            nobody: dict[str, Any] = scorer.nobody()
        assert list(nobody) == [
            "status",
            "churn_probability",
            "churn_probability_percentile",
            "churn_probability_band",
        ]
        assert {len(values) for values in nobody.values()} == {0}
        # Nobody is refused: somebody of the population is made up.
        Codec(SCHEMA, 1).decode_table(client.tables[0])
