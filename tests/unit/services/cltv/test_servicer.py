from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_registry.bundle import BundleError
from regulars.cltv.v1 import cltv_pb2
from regulars.scoring.v1 import scoring_pb2
from services.client import CltvClient
from services.cltv.servicer import SERVICE, Answers, check
from tests.support.bundles import CLTV, CLTV_SCHEMA, columns, lifetime_values
from tests.support.calls import features_of, table_of
from tests.support.server import running, server_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_registry.bundle import Manifest
    from model_registry.schema import Output

SILVER = (10.0, 0.5, "")
GOLD = (10.0, 3.0, "web")
BRONZE = (80.0, 1.0, "")
# Below the lowest tier.
HOPELESS = (80.0, -200.0, "")
INACTIVE = (91.0, 0.5, "web")
VALUE, LOWER, UPPER = CLTV_SCHEMA.outputs


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CltvClient]:
    bundles = tmp_path_factory.mktemp("bundles")
    CLTV.release(bundles, "7")
    with (
        running(bundles, command=server_of("cltv")) as server,
        CltvClient(f"127.0.0.1:{server.port}") as open_client,
    ):
        yield open_client


def with_outputs(*outputs: Output) -> Manifest:
    return CLTV.manifest(schema=replace(CLTV_SCHEMA, outputs=outputs))


def test_the_service_has_the_name_that_callers_use() -> None:
    assert SERVICE == "regulars.cltv.v1.CltvService"


def test_outputs_come_in_any_order_and_a_shop_may_not_name_its_currency() -> None:
    check(with_outputs(LOWER, UPPER, VALUE))
    check(with_outputs(*(replace(output, unit="") for output in CLTV_SCHEMA.outputs)))


@pytest.mark.parametrize(
    ("refused", "complaint"),
    [
        (with_outputs(LOWER, UPPER), "no output expected_value with tiers and a reference; retrain cltv"),
        (with_outputs(replace(VALUE, bands=()), LOWER, UPPER), "no output expected_value with tiers"),
        (with_outputs(replace(VALUE, reference=()), LOWER, UPPER), "no output expected_value with tiers"),
        (with_outputs(VALUE, LOWER), "no outputs lower_bound and upper_bound in the unit of expected_value; retrain"),
        (with_outputs(VALUE, LOWER, replace(UPPER, unit="EUR")), "no outputs lower_bound and upper_bound"),
        (CLTV.manifest(constants={}), "does not say the interval_level of its bounds, between 0 and 1; retrain cltv"),
        (CLTV.manifest(constants={"interval_level": 80.0}), "does not say the interval_level"),
    ],
)
def test_a_bundle_that_the_answers_cannot_express_is_refused(refused: Manifest, complaint: str) -> None:
    for use in (check, Answers):
        with pytest.raises(BundleError, match=complaint):
            use(refused)


@pytest.mark.parametrize(("row", "tier"), [(SILVER, "SILVER"), (GOLD, "GOLD"), (BRONZE, "BRONZE"), (HOPELESS, "")])
def test_one_customer_is_answered_with_value_bounds_and_tier(
    client: CltvClient, row: tuple[float, float, str], tier: str
) -> None:
    answer = client.predict("c1", features_of(columns(row)))
    assert (answer.model_version.version, answer.horizon_days, answer.currency) == ("7", 30, "USD")
    assert answer.interval_level == pytest.approx(0.8)
    prediction, expected = answer.prediction, lifetime_values(row)
    assert (prediction.customer_id, prediction.status) == ("c1", scoring_pb2.SCORE_STATUS_OK)
    assert prediction.expected_value == pytest.approx(expected["expected_value"])
    assert prediction.lower_bound == pytest.approx(expected["lower_bound"])
    assert prediction.upper_bound == pytest.approx(expected["upper_bound"])
    assert prediction.percentile == pytest.approx(np.clip(expected["expected_value"] / 2, 0, 100), abs=0.1)
    assert prediction.tier == tier


def test_who_cannot_be_scored_gets_a_status_and_no_figures(client: CltvClient) -> None:
    prediction = client.predict("c1", features_of(columns(INACTIVE))).prediction
    assert prediction == cltv_pb2.LifetimeValuePrediction(
        customer_id="c1", status=scoring_pb2.SCORE_STATUS_INACTIVE, warnings=prediction.warnings
    )


def test_a_table_is_answered_with_tiers_by_number(client: CltvClient) -> None:
    rows = (SILVER, INACTIVE, GOLD, BRONZE, HOPELESS)
    answer = client.batch_predict(table_of(columns(*rows)))
    assert (answer.horizon_days, answer.currency) == (30, "USD")
    assert answer.interval_level == pytest.approx(0.8)
    table = answer.predictions
    assert list(table.customer_ids) == ["c0", "c1", "c2", "c3", "c4"]
    assert list(table.statuses) == [1, 3, 1, 1, 1]
    assert list(table.tier_names) == ["BRONZE", "SILVER", "GOLD"]
    assert list(table.tiers) == [1, -1, 2, 0, -1]
    for name, given in (
        ("expected_value", table.expected_values),
        ("lower_bound", table.lower_bounds),
        ("upper_bound", table.upper_bounds),
    ):
        expected = [float("nan") if row is INACTIVE else lifetime_values(row)[name] for row in rows]
        np.testing.assert_allclose(given, expected, rtol=1e-5)
    assert np.isnan(table.percentiles).tolist() == [False, True, False, False, False]
