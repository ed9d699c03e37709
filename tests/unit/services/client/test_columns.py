"""What clients make of answers: the columns of offline scoring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regulars.churn.v1 import churn_pb2
from regulars.cltv.v1 import cltv_pb2
from regulars.clustering.v1 import clustering_pb2
from regulars.propensity.v1 import propensity_pb2
from regulars.scoring.v1 import scoring_pb2
from services.client import AnyClient, ChurnClient, CltvClient, ClusteringClient, PropensityClient, load_client
from services.client.columns import names_of

NAN = float("nan")
OK, INACTIVE = scoring_pb2.SCORE_STATUS_OK, scoring_pb2.SCORE_STATUS_INACTIVE


@pytest.mark.parametrize("client", [ChurnClient, PropensityClient, CltvClient, ClusteringClient])
def test_a_model_finds_its_client_by_name(client: type[AnyClient]) -> None:
    model = client.__name__.removesuffix("Client").lower()
    assert load_client(model) is client
    assert client.SERVICE.startswith(f"regulars.{model}.v1.")


def test_of_another_model_there_is_no_client() -> None:
    with pytest.raises(ModuleNotFoundError):
        load_client("fraud")


def test_enums_that_only_a_later_server_knows_are_shown_by_number() -> None:
    later = churn_pb2.ChurnPredictionTable(statuses=[OK, 99], risk_bands=[churn_pb2.RISK_BAND_LOW, 77])  # type: ignore[list-item]  # open enums
    columns = ChurnClient.columns(later)
    assert columns["status"].tolist() == ["OK", "99"]
    assert columns["churn_probability_band"].tolist() == ["LOW", "77"]


@given(st.lists(st.integers(0, 9) | st.integers(-(2**31), 2**31 - 1)))
def test_every_number_has_its_name_or_is_its_own(numbers: list[int]) -> None:
    names = {0: None, 1: "LOW", 3: "HIGH"}
    assert names_of(numbers, names).tolist() == [names.get(number, str(number)) for number in numbers]


def test_propensities_have_a_column_a_category() -> None:
    answers = propensity_pb2.PropensityPredictionTable(
        statuses=[OK, INACTIVE],
        purchase_probabilities=[0.5, NAN],
        percentiles=[40.0, NAN],
        categories=[
            propensity_pb2.CategoryPropensityColumn(category=name, purchase_probabilities=[value, NAN], ranks=[1, 0])
            for name, value in (("GROCERY", 0.25), ("DELI", 0.125))
        ],
    )
    columns = PropensityClient.columns(answers)
    assert list(columns) == [
        "status",
        "purchase_probability",
        "purchase_probability_percentile",
        "purchase_probability[GROCERY]",
        "purchase_probability[DELI]",
    ]
    np.testing.assert_array_equal(columns["purchase_probability[DELI]"], np.array([0.125, NAN], np.float32))
    answers.response_probabilities.extend([0.75, NAN])
    np.testing.assert_array_equal(
        PropensityClient.columns(answers)["response_probability"], np.array([0.75, NAN], np.float32)
    )


def test_values_have_the_names_of_their_tiers() -> None:
    answers = cltv_pb2.LifetimeValuePredictionTable(
        statuses=[OK, INACTIVE, OK],
        expected_values=[100.0, NAN, 5.0],
        lower_bounds=[60.0, NAN, 1.0],
        upper_bounds=[180.0, NAN, 9.0],
        tier_names=["LOW", "HIGH"],
        tiers=[1, -1, 0],
        percentiles=[90.0, NAN, 10.0],
    )
    columns = CltvClient.columns(answers)
    assert list(columns) == [
        "status",
        "expected_value",
        "expected_value_percentile",
        "expected_value_band",
        "lower_bound",
        "upper_bound",
    ]
    assert columns["status"].tolist() == ["OK", "INACTIVE", "OK"]
    assert columns["expected_value_band"].tolist() == ["HIGH", None, "LOW"]
    np.testing.assert_array_equal(columns["upper_bound"], np.array([180.0, NAN, 9.0], np.float32))


def test_assignments_have_the_names_of_their_clusters() -> None:
    answers = clustering_pb2.ClusterAssignmentTable(
        statuses=[OK, INACTIVE],
        clusters=[clustering_pb2.ClusterName(cluster_id=300, name="devoted")],
        cluster_ids=[300, 0],
        distances=[0.5, NAN],
        runner_up_ids=[2, 0],
        runner_up_distances=[1.5, NAN],
        unusual=[True, False],
        recency_scores=[5, 0],
        frequency_scores=[4, 0],
        monetary_scores=[3, 0],
    )
    columns = ClusteringClient.columns(answers)
    assert {name: values.tolist()[0] for name, values in columns.items()} == {
        "status": "OK",
        "cluster_id": 300,
        "cluster_name": "devoted",
        "distance": 0.5,
        "unusual": True,
        "runner_up_id": 2,
        "runner_up_distance": 1.5,
        "recency_score": 5,
        "frequency_score": 4,
        "monetary_score": 3,
    }
    assert columns["cluster_name"].tolist() == ["devoted", None]
    assert [str(columns[name].dtype) for name in ("cluster_id", "unusual")] == ["int32", "bool"]
