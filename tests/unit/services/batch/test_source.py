"""Shards hold every row of the input once, in order, however files are cut."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from itertools import pairwise
from typing import TYPE_CHECKING
from unittest.mock import patch

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.batch import source as module
from services.batch.errors import InputError
from services.batch.place import Place
from services.batch.source import (
    Found,
    Shard,
    ShardReader,
    digest_of,
    kind_of,
    open_parquet,
    read_shard,
    read_source,
)
from tests.support.batches import base_of, source_in, source_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from services.batch.source import Source


def all_of(source: Source, *names: str) -> pa.Table:
    return pa.concat_tables([read_shard(shard, names or source.schema.names) for shard in source.shards])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(
    files=st.lists(st.lists(st.integers(0, 17), max_size=4), min_size=1, max_size=4).filter(
        lambda files: any(map(any, files))
    ),
    shard_rows=st.integers(1, 20),
    read_rows=st.integers(1, 9),
)
def test_shards_hold_every_row_once_and_in_order(
    scratch: Path, files: list[list[int]], shard_rows: int, read_rows: int
) -> None:
    total, row = sum(map(sum, files)), 0
    paths = [scratch / f"{number}.parquet" for number in range(len(files))]
    for path, groups in zip(paths, files, strict=True):
        with pq.ParquetWriter(path, pa.schema({"customer_id": pa.int64()})) as writer:
            for rows in groups:
                writer.write_table(
                    pa.table({"customer_id": pa.array(range(row, row + rows), pa.int64())}), max(rows, 1)
                )
                row += rows
    source = source_in(paths, shard_rows)
    with patch.object(module, "READ_ROWS", read_rows):
        tables = [read_shard(shard, ["customer_id"]) for shard in source.shards]
    assert pa.concat_tables(tables).column(0).to_pylist() == list(range(total))
    assert source.rows == total
    assert [table.num_rows for table in tables] == [shard.rows for shard in source.shards]
    assert [shard.number for shard in source.shards] == list(range(len(tables)))
    assert [shard.rows for shard in source.shards[:-1]] == [shard_rows] * (len(tables) - 1)
    assert 0 < source.shards[-1].rows <= shard_rows
    for path in paths:
        slices = [part for shard in source.shards for part in shard.slices if part.file == str(path)]
        assert all(before.first_row + before.rows == after.first_row for before, after in pairwise(slices))
        assert not slices or slices[0].first_row == 0


def test_a_slice_says_where_its_file_has_it(tmp_path: Path) -> None:
    source = source_of(tmp_path, base_of(7), base_of(8), shard_rows=5, row_group_size=4)
    found = [
        [(part.file[-9:], part.group, part.start, part.rows, part.first_row) for part in shard.slices]
        for shard in source.shards
    ]
    assert found == [
        [("0.parquet", 0, 0, 4, 0), ("0.parquet", 1, 0, 1, 4)],
        [("0.parquet", 1, 1, 2, 5), ("1.parquet", 0, 0, 3, 0)],
        [("1.parquet", 0, 3, 1, 3), ("1.parquet", 1, 0, 4, 4)],
    ]


def test_no_more_is_decoded_than_a_slice_needs(tmp_path: Path) -> None:
    source = source_of(tmp_path, base_of(100), shard_rows=10)
    read: list[int] = []

    class Counted(pq.ParquetFile):  # type: ignore[misc] # pyarrow has no types
        def iter_batches(self, *arguments: object, **options: object) -> object:
            for batch in super().iter_batches(*arguments, **options):
                read.append(batch.num_rows)
                yield batch

    with patch.object(module, "READ_ROWS", 5), patch.object(pq, "ParquetFile", Counted):
        read_shard(source.shards[1], ["frequency"])
        assert sum(read) == 20
        read.clear()
        with ShardReader(["frequency"]) as reader:
            for shard in source.shards[3:]:
                reader.read(shard)
    # Shards in a row share what is decoded, and what lies before the first of them.
    assert sum(read) == 100


@given(
    groups=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    shard_rows=st.integers(1, 9),
    read_rows=st.integers(1, 7),
    order=st.randoms(use_true_random=False),
)
def test_shards_may_be_read_in_any_order(
    scratch: Path, groups: list[int], shard_rows: int, read_rows: int, order: Random
) -> None:
    path, row = scratch / "any.parquet", 0
    with pq.ParquetWriter(path, pa.schema({"customer_id": pa.int64()})) as writer:
        for rows in groups:
            writer.write_table(pa.table({"customer_id": pa.array(range(row, row + rows), pa.int64())}))
            row += rows
    shards = source_in([path], shard_rows).shards
    asked = order.choices(shards, k=2 * len(shards))
    with patch.object(module, "READ_ROWS", read_rows), ShardReader(["customer_id"]) as reader:
        for shard in asked:
            first = shard.slices[0].first_row
            assert reader.read(shard).column(0).to_pylist() == list(range(first, first + shard.rows))


def test_columns_are_read_by_name_and_in_the_order_asked_for(tmp_path: Path) -> None:
    table = base_of(6)
    swapped = table.select(table.schema.names[::-1])
    source = source_of(tmp_path, table, swapped, shard_rows=9)
    assert all_of(source, "frequency", "customer_id") == pa.concat_tables([table, table]).select(
        ["frequency", "customer_id"]
    )


def test_texts_are_texts_however_they_are_kept(tmp_path: Path) -> None:
    plain = base_of(6)
    channel, ids = plain.column("channel"), plain.column("customer_id")
    coded = plain.set_column(4, "channel", channel.dictionary_encode()).set_column(
        0, "customer_id", ids.dictionary_encode()
    )
    large = plain.set_column(4, "channel", channel.cast(pa.large_string()))
    view = plain.set_column(4, "channel", channel.cast(pa.string_view()))
    categories = plain.to_pandas().astype({"channel": "category"})
    source = source_of(tmp_path, plain, coded, large, view, shard_rows=13)
    assert source.schema == plain.schema
    assert all_of(source).combine_chunks() == pa.concat_tables([plain] * 4).combine_chunks()
    categories.to_parquet(tmp_path / "pandas.parquet")
    source = source_in([tmp_path / "pandas.parquet"])
    assert all_of(source, "channel").combine_chunks() == plain.select(["channel"]).combine_chunks()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.dictionary(pa.int8(), pa.int64()), pa.int64()),
        (pa.string_view(), pa.string()),
        (pa.binary(), pa.binary()),
        (pa.float32(), pa.float32()),
    ],
)
def test_the_kind_of_a_column(kind: pa.DataType, expected: pa.DataType) -> None:
    assert kind_of(kind) == expected


def test_columns_that_nobody_asks_for_may_be_anything(tmp_path: Path) -> None:
    table = base_of(3)
    for name, values in {
        "born": [dt.date(1990, 1, 1)] * 3,
        "seen": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)] * 3,
        "orders": [[{"at": 1}]] * 3,
        "a.dotted.name": [1, 2, 3],
        "empty": pa.nulls(3),
    }.items():
        table = table.append_column(name, pa.array(values))
    frame = base_of(3).to_pandas().set_index("customer_id")
    source = source_of(tmp_path, table)
    assert all_of(source, "customer_id", "a.dotted.name").to_pydict() == {
        "customer_id": ["0000", "0001", "0002"],
        "a.dotted.name": [1, 2, 3],
    }
    # The index of a frame is a column like any other.
    frame.to_parquet(tmp_path / "indexed.parquet")
    assert all_of(source_in([tmp_path / "indexed.parquet"]), "customer_id").num_rows == 3


def test_what_a_file_says_of_itself_besides_is_no_difference(tmp_path: Path) -> None:
    table = base_of(3)
    required = pa.schema([column.with_nullable(column.name != "customer_id") for column in table.schema])
    noted = table.replace_schema_metadata({"of": "pandas"})
    pd.DataFrame(table.to_pylist()).to_parquet(tmp_path / "frame.parquet")
    source = source_of(tmp_path / "files", table, table.cast(required), noted, shard_rows=7)
    assert all_of(source).num_rows == 9


@pytest.mark.parametrize(
    ("change", "odd"),
    [
        (lambda table: table.drop_columns(["channel"]), "channel"),
        (lambda table: table.append_column("more", pa.nulls(3, pa.int8())), "more"),
        (lambda table: table.set_column(3, "frequency", pa.array([1, 2, 3])), "frequency"),
        (lambda table: table.rename_columns(["id", *table.schema.names[1:]]), "customer_id, id"),
    ],
)
def test_files_of_other_columns_are_named(tmp_path: Path, change: Callable[[pa.Table], pa.Table], odd: str) -> None:
    with pytest.raises(InputError, match=rf"2\.parquet has other columns than .*0\.parquet, or of other types: {odd};"):
        source_of(tmp_path, base_of(3), base_of(3), change(base_of(3)))


def test_an_input_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no customers"):
        source_of(tmp_path, base_of(0), base_of(0))


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0.parquet").write_text("customer_id\n1\n" * 10)
    with pytest.raises(InputError, match=r"0\.parquet cannot be read as Parquet"):
        source_in([tmp_path / "0.parquet"])


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_a_damaged_file_is_named_wherever_it_is_damaged(tmp_path: Path, compression: str) -> None:
    source = source_of(tmp_path, base_of(2000), shard_rows=2000, compression=compression)
    file = tmp_path / "0.parquet"
    whole = file.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    file.write_bytes(b"PAR1" + os.urandom(footer - 4) + whole[footer:])
    with pytest.raises(InputError, match=r"0\.parquet"):
        all_of(source)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"0\.parquet"):
        all_of(source)
    file.write_bytes(whole[:footer] + os.urandom(len(whole) - footer - 8) + whole[-8:])
    with pytest.raises(InputError, match=r"0\.parquet"):
        source_in([file])


def test_what_the_file_system_says_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_parquet(Place(str(tmp_path / "gone.parquet"))):
        pass
    with pytest.raises(FileNotFoundError), open_parquet(Place("memory://nowhere/gone.parquet")):
        pass


def test_the_digest_is_that_of_the_files_in_order(tmp_path: Path) -> None:
    source = source_of(tmp_path, base_of(3), base_of(4))
    files = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert [digest_of(Place(str(file))) for file in files] == digests
    assert source.digest == hashlib.sha256("".join(digests).encode()).hexdigest()
    assert source_in(files[::-1]).digest != source.digest
    assert source.files == tuple(map(str, files))


def test_a_digest_that_is_known_is_not_taken_again(tmp_path: Path) -> None:
    source_of(tmp_path, base_of(3))
    made = Place(str(tmp_path / "0.parquet"))
    source = read_source([Found(Place("features as of 2024-01-01"), made, "known")])
    assert source.digest == hashlib.sha256(b"known").hexdigest()
    assert source.files == ("features as of 2024-01-01",)
    assert source.shards[0].slices[0].origin == "features as of 2024-01-01"
    assert all_of(source).num_rows == 3


def test_files_elsewhere_are_read_alike(tmp_path: Path) -> None:
    here = source_of(tmp_path, base_of(25))
    there = Place("memory://source-test/0.parquet")
    there.write((tmp_path / "0.parquet").read_bytes())
    source = read_source([Found(there, there)])
    assert source.digest == here.digest
    assert read_shard(Shard(0, source.shards[0].slices), ["customer_id"]).num_rows == 25
