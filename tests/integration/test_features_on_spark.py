"""The law of `features`: one expression, one table of figures, whichever engine runs it. DuckDB is the oracle."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pytest

from features.behaviour import feature_specs
from features.labels import churned, outcomes
from features.project import load_project
from features.sections import Propensity
from features.snapshot import labelled_snapshot, snapshot, to_arrow
from features.sources import path_in_package
from features.tables import CustomerTables, canonical_tables, open_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.spark

EXAMPLE = load_project(Path(__file__).parents[2] / "examples/complete_journey/regulars.toml")
PROJECT = replace(EXAMPLE, propensity=Propensity(categories=("GROCERY", "DRUG GM", "MEAT-PCKGD")))
"""The example with a few of its departments, whose names are no words of SQL."""

AS_OF = dt.date(2017, 12, 1)
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def spark_tables() -> Iterator[CustomerTables]:
    from pyspark.sql import SparkSession  # noqa: PLC0415 - only this marked test needs Spark

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    backend = ibis.pyspark.connect(session)
    opened = {
        name: backend.read_parquet(str(path_in_package(f"tables.{name}", source.source)))
        for name, source in (
            ("transactions", PROJECT.tables.transactions),
            ("products", PROJECT.tables.products),
            ("customers", PROJECT.tables.customers),
            ("responses", PROJECT.tables.responses),
        )
        if source
    }
    yield canonical_tables(PROJECT.tables, opened, PROJECT.propensity.categories)
    session.stop()


@pytest.fixture(scope="module")
def duckdb_tables() -> CustomerTables:
    return open_tables(PROJECT)


def test_every_feature_of_every_shopper_is_the_same(
    spark_tables: CustomerTables, duckdb_tables: CustomerTables
) -> None:
    assert feature_specs(spark_tables) == feature_specs(duckdb_tables)
    spark = to_arrow(snapshot(spark_tables, AS_OF))
    duckdb = to_arrow(snapshot(duckdb_tables, AS_OF))
    assert spark.schema.equals(duckdb.schema)
    assert spark.num_rows > 2000
    for spec in feature_specs(duckdb_tables):
        if spec.kind == "categorical":
            assert spark[spec.name].equals(duckdb[spec.name]), spec.name
        else:
            np.testing.assert_allclose(spark[spec.name], duckdb[spec.name], rtol=TOLERANCE, atol=0, err_msg=spec.name)
    assert spark["customer_id"].equals(duckdb["customer_id"])


def test_every_label_is_the_same(spark_tables: CustomerTables, duckdb_tables: CustomerTables) -> None:
    for ask in (
        partial(churned, horizon_days=30, active_days=90),
        partial(outcomes, horizon_days=30),
    ):
        spark, duckdb = (
            to_arrow(labelled_snapshot(tables, AS_OF, ask(tables, AS_OF))) for tables in (spark_tables, duckdb_tables)
        )
        features = [spec.name for spec in feature_specs(duckdb_tables)]
        assert spark.drop_columns(features).equals(duckdb.drop_columns(features))
