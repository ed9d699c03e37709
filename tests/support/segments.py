"""A small world whose segments are known: customers who keep to their group, at four snapshots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pyarrow as pa

from features.project import Project, load_project
from features.specs import FeatureSpec
from model_registry.bundle import TrainingWindow
from training.clustering import choice
from training.clustering.pipeline import PIPELINE, Segmentation
from training.clustering.space import FEATURES
from training.core.champion import Champion
from training.core.dataset import Dataset, Rows, make_dataset, rows_from_arrow

if TYPE_CHECKING:
    from pathlib import Path

SPECS = tuple(FeatureSpec(name, "numeric", nullable=False, unit="", description="") for name in FEATURES)
DATES = ("2017-03-01", "2017-04-01", "2017-05-01", "2017-06-01")
LABELS = ("purchased", "revenue")
HORIZON = 30


@dataclass(frozen=True)
class Group:
    """Customers around these medians, of whom so many order in the horizon."""

    recency_days: float
    frequency: float
    monetary: float
    orders_again: float = 0.5


CHAMPIONS = Group(2.0, 80.0, 2400.0, 0.98)
PROMISING = Group(8.0, 5.0, 100.0, 0.6)
AT_RISK = Group(70.0, 25.0, 600.0, 0.3)
LAPSED = Group(400.0, 3.0, 40.0, 0.05)
GROUPS = (CHAMPIONS, AT_RISK, PROMISING, LAPSED)
"""From the best down."""


def customers(groups: tuple[Group, ...] = GROUPS, each: int = 150, seed: int = 0, spread: float = 0.25) -> pa.Table:
    """Customers at one snapshot, `each` of every group in turn; `spread` is the deviation of the logarithms."""
    random = np.random.default_rng(seed)
    medians = np.repeat([[one.recency_days, one.frequency, one.monetary] for one in groups], each, axis=0)
    values = medians * np.exp(random.normal(0.0, spread, medians.shape))
    values[:, FEATURES.index("frequency")] = np.maximum(np.round(values[:, FEATURES.index("frequency")]), 1.0)
    purchased = random.random(len(values)) < np.repeat([one.orders_again for one in groups], each)
    revenue = np.where(purchased, values[:, FEATURES.index("monetary")] / 10.0, 0.0)
    return pa.table(
        {
            "customer_id": [f"c{number:05}" for number in range(len(values))],
            **{name: values[:, column].astype(np.float32) for column, name in enumerate(FEATURES)},
            "purchased": purchased.astype(np.int8),
            "revenue": revenue,
        }
    )


def dataset(groups: tuple[Group, ...] = GROUPS, each: int = 150, seed: int = 0) -> Dataset:
    """Three training snapshots and a test snapshot of the same customers."""
    tables = [customers(groups, each, seed + at) for at in range(len(DATES))]
    parts = [
        rows_from_arrow(table, SPECS, LABELS, np.datetime64(date)) for table, date in zip(tables, DATES, strict=True)
    ]
    window = TrainingWindow(DATES[0], DATES[-2], DATES[-1])
    train = replace(Rows.concatenate(parts[:-1]), labels={})
    return make_dataset(SPECS, train, parts[-1], tables[-1], HORIZON, window)


def truth(groups: tuple[Group, ...] = GROUPS, each: int = 150) -> np.ndarray:
    """The group of each customer of a snapshot."""
    return np.repeat(np.arange(len(groups)), each)


def project(folder: Path, settings: str = "") -> Project:
    """A project over tables that nobody opens; `settings` are further sections."""
    file = folder / "regulars.toml"
    file.write_text(
        '[project]\nname = "Small"\ncurrency = "EUR"\n'
        f'[tables.transactions]\nsource = "t.csv"\ncustomer = "c"\ntime = "t"\namount = "a"\n{settings}'
    )
    return load_project(file)


def fit(data: Dataset, folder: Path, champion: Champion | None = None) -> Segmentation:
    """A segmentation of `data` by few refits, which is quick; worlds of groups far apart need no more."""
    with mock.patch.multiple(choice, REFITS=6, STARTS=5):
        return PIPELINE.fit(data, project(folder), champion or Champion(), lambda _: None)
