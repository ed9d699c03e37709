from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_registry.bundle import BundleError
from model_registry.schema import Output
from model_registry.servable import Servable
from regulars.propensity.v1 import propensity_pb2
from regulars.scoring.v1 import scoring_pb2
from services.client import PropensityClient
from services.propensity.servicer import SERVICE, Answers, check
from tests.support.bundles import PROPENSITY, PROPENSITY_SCHEMA, columns, propensities, random_columns
from tests.support.calls import features_of, table_of
from tests.support.server import running, server_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from model_registry.bundle import Manifest

ROW = (10.0, 0.5, "web")
INACTIVE = (91.0, 0.5, "web")
YOUNG = (-1.0, 0.5, "web")
BOUGHT, GROCERY, DRUG, DELI, RESPONSE = PROPENSITY_SCHEMA.outputs


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PropensityClient]:
    bundles = tmp_path_factory.mktemp("bundles")
    PROPENSITY.release(bundles, "7")
    command = server_of("propensity")
    with running(bundles, command=command) as server, PropensityClient(f"127.0.0.1:{server.port}") as open_client:
        yield open_client


def with_outputs(*outputs: Output) -> Manifest:
    return PROPENSITY.manifest(schema=replace(PROPENSITY_SCHEMA, outputs=outputs))


def test_the_service_has_the_name_that_callers_use() -> None:
    assert SERVICE == "regulars.propensity.v1.PropensityService"


@pytest.mark.parametrize("outputs", [(BOUGHT,), (BOUGHT, GROCERY), (BOUGHT, RESPONSE), PROPENSITY_SCHEMA.outputs])
def test_categories_and_the_response_may_be_left_out(outputs: tuple[Output, ...]) -> None:
    check(with_outputs(*outputs))


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        ((), "the first output of the bundle is not purchase_probability with a reference; retrain propensity"),
        ((GROCERY, BOUGHT), "the first output of the bundle is not purchase_probability"),
        ((replace(BOUGHT, reference=()),), "the first output of the bundle is not purchase_probability"),
        ((BOUGHT, Output("more", "")), "output more is of no category and not response_probability; retrain"),
        ((BOUGHT, replace(GROCERY, category="")), r"output purchase_probability\[GROCERY\] is of no category"),
        ((BOUGHT, replace(GROCERY, category="DELI")), r"output purchase_probability\[GROCERY\] is of no category"),
    ],
)
def test_a_bundle_that_the_answers_cannot_express_is_refused(outputs: tuple[Output, ...], complaint: str) -> None:
    for use in (check, Answers):
        with pytest.raises(BundleError, match=complaint):
            use(with_outputs(*outputs))


def test_one_customer_is_answered_with_the_categories_most_likely_first(client: PropensityClient) -> None:
    answer = client.predict("c1", features_of(columns(ROW)))
    expected = propensities(ROW)
    assert (answer.model_version.version, answer.horizon_days) == ("7", 30)
    prediction = answer.prediction
    assert (prediction.customer_id, prediction.status) == ("c1", scoring_pb2.SCORE_STATUS_OK)
    assert prediction.purchase_probability == pytest.approx(expected["purchase_probability"])
    assert prediction.percentile == pytest.approx(100 * expected["purchase_probability"], abs=0.1)
    # Groceries and delicatessen are equally likely, so the schema's order decides.
    assert [entry.category for entry in prediction.categories] == ["DRUG GM", "GROCERY", "DELI"]
    for entry in prediction.categories:
        likely = expected[f"purchase_probability[{entry.category}]"]
        assert entry.purchase_probability == pytest.approx(likely)
    assert prediction.response_probability == pytest.approx(expected["response_probability"])


def test_who_cannot_be_scored_gets_a_status_and_no_figures(client: PropensityClient) -> None:
    prediction = client.predict("c1", features_of(columns(INACTIVE))).prediction
    assert prediction == propensity_pb2.PropensityPrediction(
        customer_id="c1", status=scoring_pb2.SCORE_STATUS_INACTIVE, warnings=prediction.warnings
    )
    assert [warning.feature for warning in prediction.warnings] == ["frequency", "recency_days"]


def test_a_table_is_answered_with_a_column_a_category_in_the_order_of_the_schema(client: PropensityClient) -> None:
    shopper = (50.0, 4.0, "shop")
    answer = client.batch_predict(table_of(columns(ROW, INACTIVE, shopper, YOUNG))).predictions
    assert list(answer.customer_ids) == ["c0", "c1", "c2", "c3"]
    assert list(answer.statuses) == [1, 3, 1, 2]
    scored = [propensities(row)["purchase_probability"] for row in (ROW, shopper)]
    nan = float("nan")
    np.testing.assert_allclose(answer.purchase_probabilities, [scored[0], nan, scored[1], nan], rtol=1e-5)
    assert np.isnan(answer.percentiles).tolist() == [False, True, False, True]
    assert np.isnan(answer.response_probabilities).tolist() == [False, True, False, True]
    assert [column.category for column in answer.categories] == ["GROCERY", "DRUG GM", "DELI"]
    assert [list(column.ranks) for column in answer.categories] == [[2, 0, 1, 0], [1, 0, 3, 0], [3, 0, 2, 0]]
    for column in answer.categories:
        likely = [propensities(row)[f"purchase_probability[{column.category}]"] for row in (ROW, shopper)]
        np.testing.assert_allclose(column.purchase_probabilities, [likely[0], nan, likely[1], nan], rtol=1e-5)


def test_without_categories_and_responses_nothing_is_said_of_them(tmp_path: Path) -> None:
    servable = Servable(PROPENSITY.make(tmp_path / "bundle", schema=replace(PROPENSITY_SCHEMA, outputs=(BOUGHT,))))
    answers = Answers(servable.manifest)
    row, table = propensity_pb2.PropensityPrediction(), propensity_pb2.PropensityPredictionTable()
    answers.fill_row(row, "c1", servable.score_one(columns(ROW)))
    answers.fill_table(table, servable.score(columns(ROW, INACTIVE)))
    assert not row.HasField("response_probability")
    assert (len(row.categories), len(table.categories), len(table.response_probabilities)) == (0, 0, 0)
    assert len(table.purchase_probabilities) == 2


def test_a_row_and_a_table_rank_alike(tmp_path: Path) -> None:
    servable = Servable(PROPENSITY.make(tmp_path / "bundle"))
    answers = Answers(servable.manifest)
    everybody = random_columns(200, seed=8)
    everybody.numeric[:, 1] /= 20
    table = propensity_pb2.PropensityPredictionTable()
    answers.fill_table(table, servable.score(everybody))
    ranked = {tuple(column.ranks[at] for column in table.categories) for at in range(200)}
    assert {(0, 0, 0), (1, 3, 2), (2, 1, 3)} <= ranked
    for at in range(200):
        row = propensity_pb2.PropensityPrediction()
        answers.fill_row(row, "c1", servable.score_one(everybody.slice(at, at + 1)))
        by_rank = {column.ranks[at]: column.category for column in table.categories if column.ranks[at]}
        assert [entry.category for entry in row.categories] == [by_rank[rank] for rank in sorted(by_rank)]
