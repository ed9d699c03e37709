"""The law of engines, on Spark: the same files as everywhere, and nobody needs to know that it was Spark."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import grpc
import pyarrow.parquet as pq
import pytest

from services.batch.engines import LocalEngine
from services.batch.shards import part_name
from services.client import CallError
from tests.fakes.troubled import TroubledModel, fail, sleep_for_ever
from tests.support.scoring import (
    COUNT,
    awkward_customers,
    files_in,
    release_samples,
    scored,
    source_of,
    task_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from services.batch.source import Source
    from services.batch.spark import SparkEngine

pytestmark = pytest.mark.spark

TROUBLE = f"customer {COUNT - 1}"
"""Stands in the last shard."""

UNAVAILABLE = CallError(grpc.StatusCode.UNAVAILABLE, "no server", "", {"a": "b"})


@pytest.fixture(scope="module")
def engine() -> Iterator[SparkEngine]:
    from pyspark.sql import SparkSession  # noqa: PLC0415 - only this marked test needs Spark

    from services.batch.spark import SparkEngine  # noqa: PLC0415 - the same

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
        yield SparkEngine.on_this_session()
        session.stop()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source_of(awkward_customers(), tmp_path_factory.mktemp("customers") / "customers.parquet")


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Of customers who all agree."""
    customers = awkward_customers().select(["customer_id", "frequency"]).rename_columns(["customer_id", "orders"])
    return source_of(customers, tmp_path_factory.mktemp("orders") / "orders.parquet")


def ids_in(scores: pa.Table) -> list[str]:
    return sorted(scores.column("customer_id").to_pylist())


def test_it_writes_the_files_of_every_other_engine(engine: SparkEngine, source: Source, tmp_path: Path) -> None:
    models = release_samples(tmp_path / "bundles")
    local = scored(models, source, LocalEngine(1), tmp_path / "local")
    spark = scored(models, source, engine, tmp_path / "spark")
    assert files_in(tmp_path / "spark") == files_in(tmp_path / "local")
    assert (spark.rows, spark.statuses, spark.bins) == (COUNT, local.statuses, local.bins)


def test_it_goes_on_where_another_engine_stopped(engine: SparkEngine, orders: Source, tmp_path: Path) -> None:
    once = TroubledModel(trouble=TROUBLE, then=partial(fail, UNAVAILABLE), only_once=tmp_path / "once")
    with pytest.raises(CallError):
        scored([once], orders, LocalEngine(1), tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert len(before) == len(orders.shards) - 1
    summary = scored([once], orders, engine, tmp_path / "out")
    assert (summary.rows, summary.scored_now) == (COUNT, orders.shards[-1].rows)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    expected = [name for name in awkward_customers().column("customer_id").to_pylist() if name is not None]
    assert ids_in(pq.read_table(tmp_path / "out")) == sorted(expected)


@pytest.mark.parametrize(
    "model",
    [TroubledModel(unopened=UNAVAILABLE), TroubledModel(trouble=TROUBLE, then=partial(fail, UNAVAILABLE))],
    ids=["at the beginning", "in the middle"],
)
def test_what_a_shard_raises_arrives_as_it_was(
    model: TroubledModel, engine: SparkEngine, orders: Source, tmp_path: Path
) -> None:
    with pytest.raises(CallError) as raised:
        list(engine.work(task_of([model], orders, tmp_path / "out"), orders.shards))
    assert str(raised.value) == str(UNAVAILABLE)


def test_what_spark_itself_says_is_cut_down_to_a_line(engine: SparkEngine, orders: Source, tmp_path: Path) -> None:
    from services.batch.spark import SparkFailedError  # noqa: PLC0415 - only this marked test needs Spark

    # Its process kills itself.
    task = task_of([TroubledModel(trouble=TROUBLE)], orders, tmp_path / "out")
    with pytest.raises(SparkFailedError, match="Python worker exited unexpectedly") as raised:
        list(engine.work(task, orders.shards))
    assert len(str(raised.value).splitlines()) == 1


def test_reports_come_while_others_are_under_way_and_who_stops_asking_ends_those(
    engine: SparkEngine, orders: Source, tmp_path: Path
) -> None:
    reports = engine.work(
        task_of([TroubledModel(trouble=TROUBLE, then=sleep_for_ever)], orders, tmp_path / "out"), orders.shards
    )
    numbers = {next(reports).number for _ in orders.shards[1:]}
    assert numbers == {shard.number for shard in orders.shards[:-1]}
    # The last shard sleeps for ever.
    reports.close()  # type: ignore[attr-defined]  # a generator


def test_a_part_that_this_machine_does_not_see_is_said(engine: SparkEngine, orders: Source, tmp_path: Path) -> None:
    """As where executors write to disks of their own."""
    from services.batch import spark  # noqa: PLC0415 - only this marked test needs Spark

    task = task_of([TroubledModel()], orders, tmp_path / "out")
    (report,) = engine.work(task, orders.shards[:1])
    (tmp_path / "out" / part_name(report.number)).unlink()
    with pytest.raises(spark.UnseenOutputError, match="give an --output that all of them reach"):
        spark._require_seen(task, report)
