"""Scoring in the process and scoring through a server are one scoring: the same rows, the same bits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

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
from services.client import ChurnClient, customer_table
from services.core.settings import Settings
from tests.support.bundles import SCHEMA, random_columns, release_bundle, release_forest
from tests.support.scores import bits
from tests.support.server import running

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.batch.job import Engine

COUNT = 5_000
WIDEST = 200
"""Features of a model: more than all that the suite builds."""


def awkward_customers() -> pa.Table:
    """Customers who miss features, come from nowhere known, are long gone, or have hardly come."""
    columns = random_columns(COUNT, seed=5)
    # Spread over all bands: the linear graph is certain of whoever ordered often.
    columns.numeric[:, 1] = (columns.numeric[:, 1] - 30) / 8
    return pa.table(
        {
            "customer_id": [f"customer {row}" for row in range(COUNT)],
            "recency_days": columns.numeric[:, 0],
            "frequency": pa.array(columns.numeric[:, 1], from_pandas=True),
            "channel": [text or None for text in columns.categorical[:, 0]],
        }
    )


def scores_of(source: Path, engine: Engine, output: Path) -> Path:
    _, batches = read_batches(source, SCHEMA)
    run("churn", batches, engine, set(), output, lambda done: None)
    return output / SCORES_FILE


@pytest.fixture(scope="module", params=[release_bundle, release_forest], ids=["linear", "forest"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The scores that each engine writes for the same customers: here, and through a server."""
    folder = tmp_path_factory.mktemp("engines")
    release = request.param(folder / "bundles", "1")
    pq.write_table(awkward_customers(), folder / "customers.parquet")
    servable = Servable(read_bundle(folder / "bundles" / "churn" / release.digest))
    local = scores_of(folder / "customers.parquet", partial(score_locally, servable), folder / "local")
    versions: set[str] = set()
    with running(folder / "bundles") as server, ChurnClient(f"127.0.0.1:{server.port}") as client:
        engine = partial(score_remotely, client, SCHEMA, versions=versions)
        remote = scores_of(folder / "customers.parquet", engine, folder / "remote")
    assert versions == {f"1 ({release.digest[:12]})"}
    return local, remote


def test_both_engines_give_the_same_file(files: tuple[Path, Path]) -> None:
    local, remote = (pq.read_table(path) for path in files)
    assert remote.equals(local)
    for name in ("churn_probability", "churn_probability_percentile"):
        np.testing.assert_array_equal(bits(numbers(remote, name)), bits(numbers(local, name)))
    # To the byte, so also in what a comparison of tables lets pass.
    assert files[0].read_bytes() == files[1].read_bytes()


def numbers(table: pa.Table, name: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = table.column(name).drop_null().to_numpy()
    return values


def test_that_file_holds_what_could_have_differed(files: tuple[Path, Path]) -> None:
    scores = pq.read_table(files[0])
    assert scores.column("customer_id").to_pylist() == [f"customer {row}" for row in range(COUNT)]
    assert set(scores.column("status").to_pylist()) == {"OK", "INACTIVE", "INSUFFICIENT_HISTORY"}
    assert set(scores.column("churn_probability_band").to_pylist()) == {"LOW", "MEDIUM", "HIGH", None}
    scored = np.array([status == "OK" for status in scores.column("status").to_pylist()])
    for name in ("churn_probability", "churn_probability_percentile", "churn_probability_band"):
        np.testing.assert_array_equal(scores.column(name).is_valid().to_numpy(), scored)
    assert COUNT > 2 * BATCH_ROWS


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
