"""What does not fit is said before the first row is read, and what a run is depends on all that changes its output."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_registry.schema import Feature
from services.batch.errors import InputError
from services.batch.place import Place
from services.batch.plan import plan
from services.batch.shards import FAULT, ROW
from tests.fakes.scoring import FakeModel
from tests.support.batches import base_of, source_in, source_of
from tests.support.bundles import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.batch.run import Identity
    from services.batch.shards import Task

OUTPUT = Place("out")


def planned(
    folder: Path, table: pa.Table, models: Sequence[FakeModel] = (FakeModel(),), **options: Any
) -> tuple[Task, Identity]:
    return plan(models, source_of(folder, table), OUTPUT, **options)


def changed(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


def test_what_models_need_is_read_once_and_nothing_else(tmp_path: Path) -> None:
    table = base_of(2).append_column("secret", pa.array([1, 2]))
    task, identity = planned(tmp_path, table, [FakeModel(), FakeModel("cltv", "7", "e" * 64)])
    assert task.names == ("customer_id", "consent", "recency_days", "frequency", "channel")
    assert task.carried == ()
    assert task.run == identity.digest
    assert identity.models == {
        "churn": {"version": "1", "digest": "d" * 64},
        "cltv": {"version": "7", "digest": "e" * 64},
    }
    assert identity.input["rows"] == 2
    assert identity.input["files"] == [str(tmp_path / "0.parquet")]


def test_what_intake_found_is_read_too(tmp_path: Path) -> None:
    table = base_of(2).append_column(ROW, pa.array([1, 2])).append_column(FAULT, pa.nulls(2, pa.string()))
    task, _ = planned(tmp_path, table.drop_columns(["consent"]))
    assert task.names == ("customer_id", ROW, FAULT, "recency_days", "frequency", "channel")


def test_a_column_that_is_an_input_and_the_consent_is_read_once(tmp_path: Path) -> None:
    consents = replace(SCHEMA, features=(*SCHEMA.features, Feature("consent", "numeric")))
    task, _ = planned(tmp_path, base_of(2), [FakeModel(features=consents)])
    assert task.names.count("consent") == 1


def test_features_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    task, identity = planned(tmp_path, base_of(2), with_features=True)
    assert task.carried == ("recency_days", "frequency", "channel")
    assert identity.carried == list(task.carried)


def test_another_version_input_or_set_of_columns_is_another_run(tmp_path: Path) -> None:
    table = base_of(2)
    digests = [
        identity.digest
        for _, identity in (
            planned(tmp_path / "a", table),
            planned(tmp_path / "a", table, [FakeModel(version="2")]),
            planned(tmp_path / "a", table, [FakeModel(digest="e" * 64)]),
            planned(tmp_path / "a", table, [FakeModel(), FakeModel("cltv")]),
            planned(tmp_path / "a", table, with_features=True),
            planned(tmp_path / "b", table),
            planned(tmp_path / "a", changed(table, "frequency", [8.0, 9.0])),
        )
    ]
    assert len(set(digests)) == len(digests)
    assert planned(tmp_path / "a", table)[1].digest == digests[0]


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [
        ("customer_id", [1.5, 2.5], "customer_id must be text or whole numbers, is double"),
        ("consent", ["yes", "no"], "consent must be true or false, is string"),
        ("channel", [1, 2], "churn cannot score the input: column channel must be text, is int64"),
        ("frequency", ["1", "2"], "churn cannot score the input: column frequency must be numeric, is string"),
    ],
)
def test_a_column_of_the_wrong_kind_is_said_before_the_first_row(
    tmp_path: Path, column: str, values: list[Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        planned(tmp_path, changed(base_of(2), column, values))


@pytest.mark.parametrize(
    "ids", [pa.array([7, 8]), pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", "b"], pa.large_string())]
)
def test_ids_may_be_texts_of_any_coding_or_whole_numbers(tmp_path: Path, ids: pa.Array) -> None:
    planned(tmp_path, changed(base_of(2), "customer_id", ids))


def test_columns_that_are_missing_are_named_with_the_model_that_needs_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks columns that churn needs: recency_days, channel"):
        planned(tmp_path, base_of(2).drop_columns(["recency_days", "channel"]))
    with pytest.raises(InputError, match="has no column customer_id; it has consent, recency_days"):
        planned(tmp_path, base_of(2).drop_columns(["customer_id"]))


def test_a_column_that_stands_twice_matters_where_it_is_read(tmp_path: Path) -> None:
    table = base_of(2).append_column("note", pa.array([1, 2])).append_column("note", pa.array([3, 4]))
    planned(tmp_path, table)
    twice = table.append_column("frequency", pa.array([1.0, 2.0]))
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="stand more than once in the input: frequency; rename one of each"):
        plan([FakeModel()], source_in([tmp_path / "twice.parquet"]), OUTPUT)
