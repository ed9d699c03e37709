"""Scoring in the process and scoring through a server are one scoring: the same rows, the same bits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model_registry.bundle import read_bundle
from model_registry.servable import Servable
from services.batch.customers import BATCH_ROWS, read_batches
from services.batch.engines import score_locally, score_remotely
from services.batch.job import SCORES_FILE, run
from services.client import ChurnClient
from services.core.settings import Settings
from tests.support.bundles import SCHEMA, release_bundle
from tests.support.server import running

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 5_000


def awkward_customers() -> pa.Table:
    """Customers who miss features, come from nowhere known, or are long gone."""
    random = np.random.default_rng(5)
    frequency = np.where(random.random(COUNT) < 0.2, np.nan, random.normal(0, 3, COUNT))
    return pa.table(
        {
            "customer_id": [f"customer {row}" for row in range(COUNT)],
            "recency_days": pa.array(random.uniform(0, 120, COUNT), pa.float32()),
            "frequency": pa.array(frequency, pa.float32()),
            "channel": random.choice(np.array(["web", "shop", "kiosk", None], object), COUNT).tolist(),
        }
    )


def scores_of(source: Path, engine: Any, output: Path) -> pa.Table:
    _, batches = read_batches(source, SCHEMA)
    run("churn", batches, engine, set(), output, lambda done: None)
    return pq.read_table(output / SCORES_FILE)


def test_both_engines_give_the_same_file(tmp_path: Path) -> None:
    release = release_bundle(tmp_path / "bundles", "1")
    pq.write_table(awkward_customers(), tmp_path / "customers.parquet")
    servable = Servable(read_bundle(tmp_path / "bundles" / "churn" / release.digest))
    local = scores_of(tmp_path / "customers.parquet", partial(score_locally, servable), tmp_path / "local")
    versions: set[str] = set()
    with running(tmp_path / "bundles") as server, ChurnClient(f"127.0.0.1:{server.port}") as client:
        engine = partial(score_remotely, client, SCHEMA, versions=versions)
        remote = scores_of(tmp_path / "customers.parquet", engine, tmp_path / "remote")
    assert remote.equals(local)
    assert local.num_rows == COUNT
    assert set(local.column("status").to_pylist()) == {"OK", "INACTIVE"}
    assert versions == {f"1 ({release.digest[:12]})"}


def test_a_batch_is_a_table_that_servers_take() -> None:
    assert Settings().max_rows >= BATCH_ROWS
