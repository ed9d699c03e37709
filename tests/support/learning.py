"""Small worlds to learn from, whose truth is known: who is long away, pays little or came by mail tends to leave."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from features.specs import FeatureSpec
from model_registry.bundle import TrainingWindow
from training.core.dataset import Dataset, Rows, make_dataset, rows_from_arrow

SPECS = (
    FeatureSpec("recency_days", "numeric", "days", "Since the last order", nullable=False),
    FeatureSpec("channel", "categorical", "", "Main channel"),
    FeatureSpec("spend", "numeric", "money", "So far", nullable=False),
    FeatureSpec("gap_days", "numeric", "days", "Between orders"),
)
DATES = ("2017-03-01", "2017-04-01", "2017-05-01", "2017-06-01")
HORIZON = 30
LABEL = "churned"


def customers(rows: int, seed: int, skill: float = 1.0) -> pa.Table:
    """Customers at one date; `skill` 0 makes the outcome pure chance. `gap_days` is sometimes missing."""
    random = np.random.default_rng(seed)
    recency = random.exponential(30.0, rows).astype(np.float32)
    spend = random.lognormal(4.0, 1.0, rows).astype(np.float32)
    gap = np.where(random.random(rows) < 0.1, np.nan, random.exponential(10.0, rows)).astype(np.float32)
    channel = random.choice(["mail", "shop", "web"], rows)
    channel[random.random(rows) < 0.05] = ""
    margin = 0.04 * (recency - 30) - 0.9 * (np.log(spend) - 4) + 1.5 * (channel == "mail")
    outcome = random.random(rows) < 1 / (1 + np.exp(1.5 - skill * margin))
    return pa.table(
        {
            "customer_id": [f"c{number:05}" for number in range(rows)],
            "recency_days": recency,
            "channel": pa.array([text or None for text in channel.tolist()], pa.string()),
            "spend": spend,
            "gap_days": gap,
            LABEL: outcome.astype(np.int8),
        }
    )


def dataset(rows: int = 600, skill: float = 1.0) -> Dataset:
    """Three training snapshots and a test snapshot."""
    tables = [customers(rows, seed, skill) for seed in range(len(DATES))]
    parts = [
        rows_from_arrow(table, SPECS, [LABEL], np.datetime64(date)) for table, date in zip(tables, DATES, strict=True)
    ]
    window = TrainingWindow(DATES[0], DATES[-2], DATES[-1])
    return make_dataset(SPECS, Rows.concatenate(parts[:-1]), parts[-1], tables[-1], HORIZON, window)
