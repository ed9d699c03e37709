"""Scoring in the process and scoring through a server are one scoring: the same rows, the same bits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_registry.bundle import read_bundle
from model_registry.servable import Servable
from regulars.churn.v1 import churn_pb2
from services.batch.customers import BATCH_ROWS, read_batches
from services.batch.engines import score_locally, score_remotely
from services.batch.job import SCORES_FILE, run
from services.client import customer_table, load_client
from services.core.settings import Settings
from tests.support.bundles import SAMPLES, SCHEMA, random_columns, release_forest
from tests.support.server import running, server_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model_registry.release import Release
    from services.batch.job import Engine

COUNT = 5_000
WIDEST = 200
"""Features of a model: more than all that the suite builds."""


def awkward_customers() -> pa.Table:
    """Customers who miss features, come from nowhere known, are long gone, have hardly come, or do not want this."""
    columns = random_columns(COUNT, seed=5)
    # Spread over all bands: the linear graph is certain of whoever ordered often.
    columns.numeric[:, 1] = (columns.numeric[:, 1] - 30) / 8
    consent = np.random.default_rng(6).choice(np.array([True, True, True, False, None]), COUNT)
    # A batch without anybody to score.
    consent[BATCH_ROWS : 2 * BATCH_ROWS] = False
    agrees = consent == True  # noqa: E712 - element by element
    return pa.table(
        {
            "customer_id": [f"customer {row}" for row in range(COUNT)],
            "consent": pa.array(consent, pa.bool_()),
            "recency_days": pa.array(columns.numeric[:, 0], mask=~agrees),
            "frequency": pa.array(columns.numeric[:, 1], mask=~agrees, from_pandas=True),
            "channel": pa.array([text or None for text in columns.categorical[:, 0]], pa.string(), mask=~agrees),
        }
    )


def scores_of(source: Path, model: str, engine: Engine, output: Path) -> Path:
    _, batches = read_batches(source, SCHEMA)
    run(model, batches, engine, set(), output, lambda done: None)
    return output / SCORES_FILE


class Files(NamedTuple):
    """The scores that each engine writes for the same customers: here, and through a server."""

    model: str
    local: Path
    remote: Path


RELEASES: dict[str, tuple[str, Callable[[Path, str], Release]]] = {
    "forest": ("churn", release_forest),
    **{name: (name, sample.release) for name, sample in SAMPLES.items()},
}


@pytest.fixture(scope="module", params=RELEASES)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("engines")
    model, release_in = RELEASES[request.param]
    release = release_in(folder / "bundles", "1")
    pq.write_table(awkward_customers(), folder / "customers.parquet")
    servable = Servable(read_bundle(folder / "bundles" / model / release.digest))
    local = scores_of(folder / "customers.parquet", model, partial(score_locally, servable), folder / "local")
    versions: set[str] = set()
    with (
        running(folder / "bundles", command=server_of(model)) as server,
        load_client(model)(f"127.0.0.1:{server.port}") as client,
    ):
        engine = partial(score_remotely, client, SCHEMA, versions=versions)
        remote = scores_of(folder / "customers.parquet", model, engine, folder / "remote")
    assert versions == {f"1 ({release.digest[:12]})"}
    return Files(model, local, remote)


def test_both_engines_give_the_same_file(files: Files) -> None:
    assert pq.read_table(files.remote).equals(pq.read_table(files.local))
    # To the byte, so also in what a comparison of tables lets pass.
    assert files.local.read_bytes() == files.remote.read_bytes()


COLUMNS = {
    "churn": {
        "churn_probability": "float",
        "churn_probability_percentile": "float",
        "churn_probability_band": "string",
    },
    "propensity": {
        "purchase_probability": "float",
        "purchase_probability_percentile": "float",
        "purchase_probability[GROCERY]": "float",
        "purchase_probability[DRUG GM]": "float",
        "purchase_probability[DELI]": "float",
        "response_probability": "float",
    },
    "cltv": {
        "expected_value": "float",
        "expected_value_percentile": "float",
        "expected_value_band": "string",
        "lower_bound": "float",
        "upper_bound": "float",
    },
    "clustering": {
        "cluster_id": "int32",
        "cluster_name": "string",
        "distance": "float",
        "unusual": "bool",
        "runner_up_id": "int32",
        "runner_up_distance": "float",
        "recency_score": "int32",
        "frequency_score": "int32",
        "monetary_score": "int32",
    },
}

OCCURRING: dict[str, dict[str, set[object]]] = {
    "churn": {"churn_probability_band": {"LOW", "MEDIUM", "HIGH"}},
    "propensity": {},
    "cltv": {"expected_value_band": {"BRONZE", "SILVER", "GOLD"}},
    "clustering": {
        "cluster_id": {3, 7, 300},
        "cluster_name": {"occasional", "regular", "devoted"},
        "unusual": {True, False},
        "recency_score": {1, 2, 3, 4, 5},
    },
}


def test_that_file_has_the_columns_of_its_model(files: Files) -> None:
    names = {"customer_id": "string", "status": "string", **COLUMNS[files.model]}
    assert {field.name: str(field.type) for field in pq.read_schema(files.local)} == names


def test_that_file_holds_what_could_have_differed(files: Files) -> None:
    scores = pq.read_table(files.local)
    assert scores.column("customer_id").to_pylist() == [f"customer {row}" for row in range(COUNT)]
    statuses = scores.column("status").to_pylist()
    assert set(statuses) == {"OK", "INACTIVE", "INSUFFICIENT_HISTORY", "NO_CONSENT"}
    consent = awkward_customers().column("consent").to_pylist()
    assert [status == "NO_CONSENT" for status in statuses] == [not agrees for agrees in consent]
    scored = np.array([status == "OK" for status in statuses])
    for name in COLUMNS[files.model]:
        np.testing.assert_array_equal(scores.column(name).is_valid().to_numpy(), scored, err_msg=name)
    for name, values in OCCURRING[files.model].items():
        assert set(scores.column(name).drop_null().to_pylist()) == values
    assert COUNT > 2 * BATCH_ROWS


@pytest.mark.parametrize("files", SAMPLES, indirect=True)
def test_that_file_holds_what_the_graph_computes(files: Files) -> None:
    """By hand, for some of those who are scored."""
    customers, scores = awkward_customers().to_pylist(), pq.read_table(files.local).to_pylist()
    scored = [(customer, score) for customer, score in zip(customers, scores, strict=True) if score["status"] == "OK"]
    for customer, score in scored[:50]:
        frequency = float("nan") if customer["frequency"] is None else customer["frequency"]
        expected = SAMPLES[files.model].by_hand((customer["recency_days"], frequency, customer["channel"] or ""))
        for name, value in expected.items():
            assert score[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_a_batch_is_a_table_that_servers_take() -> None:
    assert Settings().max_rows >= BATCH_ROWS
    ids = [f"{row:036}" for row in range(BATCH_ROWS)]
    table = customer_table(
        ids,
        {f"a feature with a long name {at}": np.ones(BATCH_ROWS) for at in range(WIDEST)},
        {f"a category {at}": ids for at in range(WIDEST // 20)},
    )
    request = churn_pb2.StreamPredictChurnRequest(sequence=10**9, customers=table)
    assert request.ByteSize() < Settings().max_message_bytes
