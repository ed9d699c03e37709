from __future__ import annotations

import pytest

from regulars.churn.v1 import churn_pb2
from regulars.clustering.v1 import clustering_pb2
from services.methods import methods_of


def test_the_methods_of_a_service_are_read_off_its_descriptor() -> None:
    methods = methods_of("regulars.churn.v1.ChurnService")
    assert methods.one.path == "/regulars.churn.v1.ChurnService/PredictChurn"
    assert methods.batch.name == "BatchPredictChurn"
    assert (methods.one.request, methods.one.response) == (
        churn_pb2.PredictChurnRequest,
        churn_pb2.PredictChurnResponse,
    )
    assert methods.stream.response is churn_pb2.StreamPredictChurnResponse
    assert (methods.one.answer, methods.batch.answer, methods.stream.answer) == (
        "prediction",
        "predictions",
        "predictions",
    )


def test_a_service_has_verbs_and_nouns_of_its_own() -> None:
    methods = methods_of(clustering_pb2.DESCRIPTOR.services_by_name["ClusteringService"].full_name)
    assert (methods.one.name, methods.stream.name) == ("AssignCluster", "StreamAssignCluster")
    assert (methods.one.answer, methods.batch.answer, methods.stream.answer) == (
        "assignment",
        "assignments",
        "assignments",
    )


@pytest.mark.parametrize("service", ["regulars.other.v1.OtherService", "regulars.scoring.v1.ModelService"])
def test_a_service_that_does_not_score_is_none(service: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        methods_of(service)
