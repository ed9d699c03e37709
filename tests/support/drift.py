"""A model whose bins were frozen on customers of a known world, and later customers of that world or another.

The graph is that of `tests.support.bundles`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from model_registry.bundle import Bundle, TrainingWindow
from model_registry.columns import Columns
from model_registry.servable import Servable
from tests.support.bundles import SCHEMA, golden, graph, manifest
from training.core.dataset import Dataset, Rows
from training.core.draft import Draft
from training.core.pipeline import Fitted

if TYPE_CHECKING:
    from model_registry.bundle import Manifest
    from model_registry.schema import Schema

WINDOW = TrainingWindow("2017-05-05", "2017-10-02", "2017-11-01")
"""With a horizon of 30 days, answers closed on 2017-12-01."""


PROJECT = """
[project]
name = "Corner shop"
[tables.transactions]
source = "orders.csv"
customer = "who"
time = "at"
amount = "paid"
[tables.customers]
source = "people.csv"
customer = "who"
sensitive = ["gender", "region"]
"""
"""A shop that maps who its customers are."""


def people(rows: int, seed: int) -> Columns:
    """Customers of the model's population, some of whom miss what may be missing."""
    random = np.random.default_rng(seed)
    recency = np.minimum(random.exponential(20.0, rows), 90.0)
    frequency = np.where(random.random(rows) < 0.1, np.nan, np.minimum(random.poisson(4.0, rows) + 1.0, 50.0))
    channel = random.choice(np.array(["web", "shop", ""], object), (rows, 1), p=[0.6, 0.3, 0.1])
    return Columns(np.stack([recency, frequency], axis=1).astype(np.float32), channel)


def table_of(columns: Columns) -> pa.Table:
    """As 'regulars features build' writes it."""
    recency, frequency = columns.numeric.T
    return pa.table(
        {
            "customer_id": [f"c{row:05}" for row in range(len(columns))],
            "recency_days": recency,
            "frequency": frequency,
            "channel": pa.array([text or None for text in columns.categorical[:, 0]], pa.string()),
        }
    )


def frozen_model(columns: Columns, window: TrainingWindow = WINDOW, schema: Schema = SCHEMA) -> Servable:
    """The model, after a training that was tested on these customers."""
    rows = Rows(np.array([], object), np.array([], "datetime64[D]"), columns, {})
    horizon_days = 30 if window.test_snapshot else 0
    dataset = Dataset(schema.features, rows, rows, pa.table({}), horizon_days, window)
    fitted = Fitted(schema, graph().SerializeToString(), lambda _: {}, {}, {}, {})
    bare = manifest(schema=schema, training_window=window, horizon_days=horizon_days)
    return with_schema(Draft(dataset, fitted, bare, _loaded(bare)).observed_schema(), bare)


def with_schema(schema: Schema, described: Manifest | None = None) -> Servable:
    """The model, described by a schema that its graph fits."""
    return _loaded(replace(described or manifest(training_window=WINDOW), schema=schema))


def _loaded(described: Manifest) -> Servable:
    return Servable(Bundle(described, graph().SerializeToString(), golden(), "d" * 64))
