from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.batch import repeated as module
from services.batch.errors import BatchError, InputError
from services.batch.place import Place
from services.batch.repeated import repeated_ids
from services.batch.source import Found

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ids")


def written(folder: Path, *columns: pa.Array, name: str = "customer_id") -> list[Found]:
    """A file for each."""
    places = [Place(str(folder / f"{number}.parquet")) for number in range(len(columns))]
    for place, column in zip(places, columns, strict=True):
        pq.write_table(pa.table({"other": pa.nulls(len(column)), name: column}), place.path)
    return [Found(place, place) for place in places]


def repeated(files: Sequence[Found]) -> list[str]:
    return [name for batch in repeated_ids(files) for name in batch.column(0).to_pylist()]


@given(
    files=st.lists(
        st.lists(st.sampled_from(["a", "b", "A", "a ", "1", "01", "", None, "\0", "\N{OGHAM SPACE MARK}"]), max_size=9),
        min_size=1,
        max_size=3,
    )
)
def test_ids_that_stand_more_than_once_in_all_files(scratch: Path, files: list[list[str | None]]) -> None:
    counts = Counter(name for file in files for name in file if name)
    columns = [pa.array(file, pa.string()) for file in files]
    with patch.object(module, "READ_ROWS", 2):
        assert repeated(written(scratch, *columns)) == sorted(name for name, count in counts.items() if count > 1)


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64(), pa.large_string(), pa.string_view()])
def test_ids_of_all_kinds_count_by_their_text(tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array(["7", "8", None, "7", None]).cast(pa.string() if kind == pa.string_view() else kind).cast(kind)
    assert repeated(written(tmp_path, ids)) == ["7"]


def test_coded_ids_count_by_their_text(tmp_path: Path) -> None:
    files = written(tmp_path, pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "b"]).dictionary_encode())
    assert repeated(files) == ["b"]


def test_more_ids_than_fit_into_memory_are_counted_on_disk(tmp_path: Path) -> None:
    ids = [f"a customer's rather long id {row:030}" for row in range(200_000)]
    with patch.object(module, "MEMORY", "16MB"):
        assert repeated(written(tmp_path, pa.array(ids), pa.array(ids[7:9]))) == ids[7:9]


def test_where_there_is_no_room_that_is_told(tmp_path: Path) -> None:
    files = written(tmp_path, pa.array([f"{row:050}" for row in range(100_000)]))
    with patch.object(module, "MEMORY", "1MB"), pytest.raises(BatchError, match=r"ids cannot be counted: .*TMPDIR"):
        repeated(files)


def test_a_file_without_ids_is_named(tmp_path: Path) -> None:
    files = written(tmp_path, pa.array(["a"]), name="id")
    with pytest.raises(InputError, match=r"0\.parquet has no column customer_id; it has other, id"):
        repeated(files)


@pytest.mark.parametrize("ids", [pa.array([1.5]), pa.array([b"a"]), pa.array([["a"]]), pa.nulls(1)])
def test_ids_of_a_kind_that_is_none_are_refused(tmp_path: Path, ids: pa.Array) -> None:
    with pytest.raises(InputError, match=r"customer_id of .*0\.parquet must be text or whole numbers, is"):
        repeated(written(tmp_path, ids))


def test_a_file_that_fails_on_the_way_says_why_itself(tmp_path: Path) -> None:
    files = written(tmp_path, pa.array(["a"]))
    (tmp_path / "0.parquet").write_bytes(b"PAR1 nothing of the sort PAR1")
    with pytest.raises(InputError, match=r"0\.parquet"):
        repeated(files)
    (tmp_path / "0.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        repeated(files)
