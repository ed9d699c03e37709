"""A customer base for batch scoring, and a run over it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_registry.bundle import read_bundle
from model_registry.schema import Distribution
from services.batch import source as source_module
from services.batch.place import Place
from services.batch.plan import plan
from services.batch.run import run
from services.batch.scorers import BUNDLE_ROWS, BundleModel
from services.batch.source import Found, read_source
from tests.support.bundles import SAMPLES, random_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from model_registry.release import Release
    from model_registry.schema import Schema
    from services.batch.engines import Engine
    from services.batch.run import Summary
    from services.batch.scorers import Model
    from services.batch.shards import Task
    from services.batch.source import Source

COUNT = 45_100
SHARD_ROWS = 22_000
"""Of the runs here: more than a model answers to at once, and the last shard is a small one."""

assert BUNDLE_ROWS < SHARD_ROWS < COUNT


def awkward_customers() -> pa.Table:
    """Customers who miss features, come from nowhere known, are long gone, have hardly come, or do not want this.

    Some have no id or a recency beyond all numbers. Nobody of the last shard wants to be scored.
    """
    columns = random_columns(COUNT, seed=5)
    # Spread over all bands: the linear graph is certain of whoever ordered often.
    columns.numeric[:, 1] = (columns.numeric[:, 1] - 30) / 8
    columns.numeric[::1000, 0] = np.inf
    consent = np.random.default_rng(6).choice(np.array([True, True, True, False, None]), COUNT)
    consent[COUNT // SHARD_ROWS * SHARD_ROWS :] = False
    agrees = consent == True  # noqa: E712 - element by element
    return pa.table(
        {
            "customer_id": [f"customer {row}" if row % 1500 else None for row in range(COUNT)],
            "consent": pa.array(consent, pa.bool_()),
            "recency_days": pa.array(columns.numeric[:, 0], mask=~agrees),
            "frequency": pa.array(columns.numeric[:, 1], mask=~agrees, from_pandas=True),
            "channel": pa.array([text or None for text in columns.categorical[:, 0]], pa.string(), mask=~agrees),
        }
    )


def with_distributions(schema: Schema) -> Schema:
    """Outputs that drift can be measured in."""
    spread = Distribution((0.2, 0.5, 2.0, 100.0), (0.1, 0.2, 0.3, 0.3, 0.1), missing=0.0, unseen=0.0, customers=10)
    return replace(schema, outputs=tuple(replace(output, distribution=spread) for output in schema.outputs))


def release_samples(bundles: Path) -> list[BundleModel]:
    """All models of the suite, in small."""
    released = [
        (name, sample.release(bundles, "1", schema=with_distributions(sample.schema)))
        for name, sample in SAMPLES.items()
    ]
    return [bundle_model(bundles, name, release) for name, release in released]


def bundle_model(bundles: Path, name: str, release: Release) -> BundleModel:
    return BundleModel(read_bundle(bundles / name / release.digest), release.version)


def source_of(customers: pa.Table, file: Path) -> Source:
    """Written to `file`, in row groups that end where no shard does, and cut into shards of `SHARD_ROWS`."""
    pq.write_table(customers, file, row_group_size=7_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_module, "SHARD_ROWS", SHARD_ROWS)
        return read_source([Found(Place(str(file)), Place(str(file)))])


def scored(models: Sequence[Model], source: Source, engine: Engine, output: Path) -> Summary:
    """Runs to the end, and writes the features beside the scores."""
    task, identity = plan(models, source, Place(str(output)), with_features=True)
    return run(task, source, identity, engine, progress=lambda _done, _rows: None)


def task_of(models: Sequence[Model], source: Source, output: Path) -> Task:
    """For an engine without a run around it; makes the folders."""
    (output / "_rejected").mkdir(parents=True)
    task, _ = plan(models, source, Place(str(output)))
    return task


def files_in(output: Path) -> dict[str, bytes]:
    """The parts, and the rows set aside, by their paths."""
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*.parquet"))}
