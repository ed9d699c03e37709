from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_registry.bundle import BundleError
from model_registry.schema import Band, Output
from regulars.clustering.v1 import clustering_pb2
from regulars.scoring.v1 import scoring_pb2
from services.client import ClusteringClient
from services.clustering.servicer import OUTPUTS, SERVICE, Answers, check
from tests.support.bundles import CLUSTERING, CLUSTERING_SCHEMA, CLUSTERS, assignment, columns
from tests.support.calls import features_of, table_of
from tests.support.server import running, server_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_registry.bundle import Manifest

DEVOTED = (10.0, -0.25, "web")
REGULAR = (75.0, 3.0, "shop")
FAR = (30.0, 30.0, "")
INACTIVE = (91.0, 0.5, "web")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusteringClient]:
    bundles = tmp_path_factory.mktemp("bundles")
    CLUSTERING.release(bundles, "7")
    command = server_of("clustering")
    with running(bundles, command=command) as server, ClusteringClient(f"127.0.0.1:{server.port}") as open_client:
        yield open_client


def without(name: str) -> Manifest:
    outputs = tuple(output for output in CLUSTERING_SCHEMA.outputs if output.name != name)
    return CLUSTERING.manifest(schema=replace(CLUSTERING_SCHEMA, outputs=outputs))


def with_bands(name: str, *bands: Band) -> Manifest:
    def changed(output: Output) -> Output:
        return replace(output, bands=bands) if output.name == name else output

    outputs = tuple(changed(output) for output in CLUSTERING_SCHEMA.outputs)
    return CLUSTERING.manifest(schema=replace(CLUSTERING_SCHEMA, outputs=outputs))


def test_the_service_has_the_name_that_callers_use() -> None:
    assert SERVICE == "regulars.clustering.v1.ClusteringService"


def test_a_bundle_with_every_output_is_taken() -> None:
    check(CLUSTERING.manifest())


@pytest.mark.parametrize(
    ("refused", "complaint"),
    [
        *((without(name), f"the bundle has no outputs {name}; retrain clustering") for name in OUTPUTS),
        (with_bands("cluster_id"), "the bands of output cluster_id are not clusters by their ids from 1; retrain"),
        (with_bands("cluster_id", Band("none", 0.0)), "the bands of output cluster_id are not clusters"),
        (with_bands("cluster_id", Band("half", 1.5)), "the bands of output cluster_id are not clusters"),
        (with_bands("distance"), "output distance has no bands USUAL, UNUSUAL; retrain clustering"),
        (with_bands("distance", Band("FAR", 0.0), Band("NEAR", 1.0)), "output distance has no bands USUAL, UNUSUAL"),
    ],
)
def test_a_bundle_that_the_answers_cannot_express_is_refused(refused: Manifest, complaint: str) -> None:
    for use in (check, Answers):
        with pytest.raises(BundleError, match=complaint):
            use(refused)


@pytest.mark.parametrize(("row", "unusual"), [(DEVOTED, False), (REGULAR, False), (FAR, True)])
def test_one_customer_is_assigned(client: ClusteringClient, row: tuple[float, float, str], unusual: bool) -> None:
    answer = client.predict("c1", features_of(columns(row)))
    given, expected = answer.assignment, assignment(row)
    assert answer.model_version.version == "7"
    assert (given.customer_id, given.status) == ("c1", scoring_pb2.SCORE_STATUS_OK)
    assert given.cluster_id == expected["cluster_id"]
    assert given.cluster_name == CLUSTERS[given.cluster_id][0]
    assert given.distance == pytest.approx(expected["distance"])
    assert given.runner_up_id == expected["runner_up_id"]
    assert given.runner_up_distance == pytest.approx(expected["runner_up_distance"])
    assert given.unusual is unusual
    scores = (given.recency_score, given.frequency_score, given.monetary_score)
    assert scores == tuple(expected[f"{name}_score"] for name in ("recency", "frequency", "monetary"))


def test_who_cannot_be_assigned_gets_a_status_and_no_cluster(client: ClusteringClient) -> None:
    given = client.predict("c1", features_of(columns(INACTIVE))).assignment
    assert given == clustering_pb2.ClusterAssignment(
        customer_id="c1", status=scoring_pb2.SCORE_STATUS_INACTIVE, warnings=given.warnings
    )


def test_a_table_is_assigned_and_names_the_clusters_that_it_mentions(client: ClusteringClient) -> None:
    answer = client.batch_predict(table_of(columns(DEVOTED, INACTIVE, FAR))).assignments
    devoted, far = assignment(DEVOTED), assignment(FAR)
    assert list(answer.customer_ids) == ["c0", "c1", "c2"]
    assert list(answer.statuses) == [1, 3, 1]
    assert list(answer.cluster_ids) == [300, 0, 7]
    assert list(answer.runner_up_ids) == [3, 0, 300]
    assert [(entry.cluster_id, entry.name) for entry in answer.clusters] == [
        (3, "occasional"),
        (7, "regular"),
        (300, "devoted"),
    ]
    assert list(answer.unusual) == [False, False, True]
    nan = float("nan")
    np.testing.assert_allclose(answer.distances, [devoted["distance"], nan, far["distance"]])
    np.testing.assert_allclose(
        answer.runner_up_distances, [devoted["runner_up_distance"], nan, far["runner_up_distance"]]
    )
    for name, given in (
        ("recency_score", answer.recency_scores),
        ("frequency_score", answer.frequency_scores),
        ("monetary_score", answer.monetary_scores),
    ):
        assert list(given) == [devoted[name], 0, far[name]]
