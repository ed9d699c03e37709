"""What the user named is found, made Parquet once, and looked through for ids that stand more than once."""

from __future__ import annotations

import gzip
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.batch import intake as module
from services.batch.errors import InputError
from services.batch.intake import (
    INPUT_FOLDER,
    read_customers,
    remove_made,
    take_in,
    take_in_batches,
    taken_before,
)
from services.batch.place import Place
from services.batch.plan import plan
from services.batch.run import RUN_FILE
from services.batch.shards import FAULT, REJECTED_FOLDER, ROW, Worker, part_name
from services.batch.source import read_shard, read_source
from tests.fakes.scoring import FakeModel
from tests.support.batches import COLUMNS, base_of, customers
from tests.support.bundles import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.batch.intake import Intake

LINES = "customer_id,recency_days,frequency,channel\n007,1,2,web\n8,many,2,shop\n9,1\n8,1,1,\n"


@pytest.fixture
def output(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "scores"))


def put(folder: Path, *names: str) -> None:
    """Files of customers under these names, each with ids of its own."""
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            pq.write_table(base_of(3).set_column(0, "customer_id", pa.array([f"{number}{at}" for at in "abc"])), file)
        else:
            file.write_text(f"customer_id,frequency\n{number},1\n")


def taken(output: Place, *inputs: object) -> Intake:
    return take_in([str(name) for name in inputs], output, [SCHEMA])


def origins(intake: Intake, folder: Path) -> list[str]:
    return [str(Path(str(file.origin)).relative_to(folder)) for file in intake.files]


def made_in(output: Place) -> list[str]:
    return (output / INPUT_FOLDER).names()


def rows_of(intake: Intake) -> list[dict[str, Any]]:
    source = read_source(intake.files)
    rows: list[dict[str, Any]] = pa.concat_tables(
        [read_shard(shard, source.schema.names) for shard in source.shards]
    ).to_pylist()
    return rows


TREE = ("b.parquet", "a.parquet", "inner/c.parquet", "_manifest.json", "_rejected/d.parquet", ".hidden/e.parquet")


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (["a.parquet"], ["a.parquet"]),
        (["b.parquet", "a.parquet"], ["a.parquet", "b.parquet"]),
        ([""], ["a.parquet", "b.parquet", "inner/c.parquet"]),
        (["*.parquet"], ["a.parquet", "b.parquet"]),
        (["**/*.parquet"], ["a.parquet", "b.parquet", "inner/c.parquet"]),
        (["inn*"], ["inner/c.parquet"]),
        (["b.parquet", "", "*.parquet"], ["a.parquet", "b.parquet", "inner/c.parquet"]),
        (["_rejected/d.parquet"], ["_rejected/d.parquet"]),
    ],
)
def test_files_are_found_once_and_in_order(tmp_path: Path, output: Place, inputs: list[str], found: list[str]) -> None:
    base = tmp_path / "base"
    put(base, *TREE)
    assert origins(taken(output, *(f"{base}/{name}" for name in inputs)), base) == found


def test_files_elsewhere_are_found_alike(tmp_path: Path) -> None:
    there = Place(f"memory://{uuid.uuid4()}")
    put(tmp_path, *TREE)
    for name in TREE:
        (there / name).parent.make_folder()
        (there / name).write((tmp_path / name).read_bytes())
    for name in (str(there), f"{there}/**/*.parquet"):
        intake = taken(there / "scores", name)
        assert [str(file.origin) for file in intake.files] == [
            f"{there}/{name}" for name in ("a.parquet", "b.parquet", "inner/c.parquet")
        ]
    assert len(rows_of(intake)) == 9


def test_a_file_may_have_a_name_like_a_pattern(tmp_path: Path, output: Place) -> None:
    put(tmp_path, "base [2024].parquet", "base 2.parquet")
    assert origins(taken(output, tmp_path / "base [2024].parquet"), tmp_path) == ["base [2024].parquet"]


@pytest.mark.parametrize("pattern", ["", "/*", "/**/*.parquet"])
def test_the_scores_are_no_input(tmp_path: Path, output: Place, pattern: str) -> None:
    put(tmp_path, "base.parquet", "scores/part-00000.parquet")
    assert origins(taken(output, f"{tmp_path}{pattern}"), tmp_path) == ["base.parquet"]
    assert origins(taken(output, tmp_path / "scores/part-00000.parquet"), tmp_path) == ["scores/part-00000.parquet"]


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        (["nothing.parquet"], r"nothing\.parquet does not exist; 'regulars features build' writes such a table"),
        (["nothing*.parquet"], r"nothing\*\.parquet holds no file to score"),
        (["empty"], r"empty holds no file to score; names that begin with a dot or an underscore do not count"),
        (["other"], r"neither Parquet nor CSV by name: .*/a\.txt, .*/b; a name ends in \.parquet, \.pq, \.csv or"),
        (["a.parquet", "b.csv"], "the input is Parquet and CSV"),
        (["b.gz"], r"neither Parquet nor CSV by name: .*/b\.gz;"),
    ],
)
def test_what_cannot_be_found_or_read_is_named(
    tmp_path: Path, output: Place, inputs: list[str], complaint: str
) -> None:
    put(tmp_path, "a.parquet", "b.csv", "b.gz", "empty/_a.parquet", "other/a.txt", "other/b", "other/c.parquet")
    with pytest.raises(InputError, match=complaint):
        taken(output, *(tmp_path / name for name in inputs))


def test_a_url_that_needs_a_package_says_which(output: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match="s3fs") as caught:
        taken(output, "s3://bucket/a.parquet")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert caught.value.__cause__.name == "s3fs"


def test_parquet_is_used_as_it_is(tmp_path: Path, output: Place) -> None:
    put(tmp_path, "a.parquet")
    intake = taken(output, tmp_path / "a.parquet")
    assert [file.origin == file.parquet for file in intake.files] == [True]
    assert intake.repeated is None
    assert not output.exists()


@pytest.mark.parametrize("compressed", [False, True])
def test_csv_becomes_parquet_with_all_its_lines(tmp_path: Path, output: Place, compressed: bool) -> None:
    file = tmp_path / ("base.csv.gz" if compressed else "base.csv")
    file.write_bytes(gzip.compress(LINES.encode()) if compressed else LINES.encode())
    intake = taken(output, file)
    (found,) = intake.files
    assert str(found.origin) == str(file)
    assert made_in(output) == sorted({found.parquet.name, str(intake.repeated).rpartition("/")[2]})
    rows = {row.pop(ROW): row for row in rows_of(intake)}
    assert [rows[row]["customer_id"] for row in range(4)] == ["007", "8", None, "8"]
    assert [rows[row][FAULT] for row in range(4)] == [
        None,
        "recency_days is no number",
        "the line has 2 values, and the header 4",
        None,
    ]
    assert rows[0] == {"customer_id": "007", "recency_days": 1.0, "frequency": 2.0, "channel": "web", FAULT: None}


def test_what_cannot_be_read_is_set_aside_with_its_file_and_line(tmp_path: Path, output: Place) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(LINES.replace("7,", f"{name}7,").replace("8,many", f"{name},many"))
    intake = taken(output, tmp_path / "*.csv")
    (output / REJECTED_FOLDER).make_folder()
    task, _ = plan([FakeModel()], read_source(intake.files), output, repeated=intake.repeated)
    with Worker(task) as worker:
        worker.work(read_source(intake.files).shards[0])
    part = output / REJECTED_FOLDER / part_name(0)
    rows = pq.read_table(part.path).to_pylist()
    assert [(row["file"][-5:], row["row"]) for row in rows] == [
        (name, row) for name in ("a.csv", "b.csv") for row in (1, 2, 3)
    ]
    found = {(row["file"][-5:], row["row"]): row for row in rows}
    assert found["b.csv", 2]["reason"] == "the line has 2 values, and the header 4"
    assert [found["a.csv", row]["customer_id"] for row in (1, 2, 3)] == ["a.csv", None, "8"]
    assert found["a.csv", 1]["reason"] == "recency_days is no number"
    assert found["a.csv", 3]["reason"] == "its customer_id stands more than once"
    scores = pq.read_table((output / part_name(0)).path)
    assert scores.column("customer_id").to_pylist() == ["00a.csv7", "00b.csv7"]


def test_a_large_csv_file_has_a_row_group_a_shard(tmp_path: Path, output: Place) -> None:
    (tmp_path / "base.csv").write_text("customer_id,frequency\n" + "".join(f"{row},{row}\n" for row in range(25)))
    with patch.object(module, "SHARD_ROWS", 10):
        (found,) = taken(output, tmp_path / "base.csv").files
    metadata = pq.ParquetFile(found.parquet.path).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [10, 10, 5]
    assert [row["frequency"] for row in rows_of(taken(output, tmp_path / "base.csv"))] == list(range(25))


def test_what_is_made_is_not_made_again_unless_it_would_be_another(tmp_path: Path, output: Place) -> None:
    (tmp_path / "base.csv").write_text(LINES)
    first = taken(output, tmp_path / "base.csv")
    with patch.object(module, "csv_batches", side_effect=AssertionError("made again")):
        assert taken(output, tmp_path / "base.csv") == first
        with pytest.raises(AssertionError):
            take_in(
                [str(tmp_path / "base.csv")], output, [replace(SCHEMA, features=SCHEMA.features[:1], population=())]
            )
    (tmp_path / "base.csv").write_text(LINES.replace("web", "shop"))
    second = taken(output, tmp_path / "base.csv")
    assert second.files != first.files
    assert read_source(second.files).digest != read_source(first.files).digest
    assert rows_of(first)[0]["channel"] == "web", "a run that reads it goes on with it"
    assert rows_of(second)[0]["channel"] == "shop"
    remove_made(output)
    assert not (output / INPUT_FOLDER).exists()
    remove_made(output)


def test_what_cannot_be_made_whole_is_not_there(tmp_path: Path, output: Place) -> None:
    (tmp_path / "base.csv").write_text('customer_id,frequency\n1,1\n2,"2\n')
    with pytest.raises(InputError, match="quote"):
        taken(output, tmp_path / "base.csv")
    assert made_in(output) == []


def test_features_of_all_models_are_kept(tmp_path: Path, output: Place) -> None:
    (tmp_path / "base.csv").write_text("customer_id,other,frequency,note\n1,2,3,4\n")
    other = replace(SCHEMA, features=(replace(SCHEMA.features[1], name="other"),), population=())
    intake = take_in([str(tmp_path / "base.csv")], output, [SCHEMA, other])
    assert rows_of(intake) == [{"customer_id": "1", "frequency": 3.0, "other": 2.0, ROW: 0, FAULT: None}]


def test_ids_that_stand_more_than_once_are_kept(tmp_path: Path, output: Place) -> None:
    put(tmp_path, "a.parquet", "b.parquet")
    pq.write_table(base_of(3).set_column(0, "customer_id", pa.array(["0b", None, "1c"])), tmp_path / "c.parquet")
    intake = taken(output, tmp_path / "*.parquet")
    assert intake.repeated is not None
    assert pq.read_table(intake.repeated.path).to_pydict() == {"customer_id": ["0b", "1c"]}
    assert made_in(output) == [intake.repeated.name]
    assert taken(output, tmp_path / "*.parquet") == intake


def batches_of(table: pa.Table, rows: int) -> Iterator[pa.RecordBatch]:
    yield from table.to_batches(rows)


def test_batches_become_one_file_whatever_their_size(output: Place) -> None:
    table = base_of(25)
    with patch.object(module, "SHARD_ROWS", 10):
        intakes = [take_in_batches("features as of today", batches_of(table, rows), output) for rows in (1, 7, 25)]
    assert intakes[0] == intakes[1] == intakes[2]
    assert [str(file.origin) for file in intakes[0].files] == ["features as of today"]
    assert rows_of(intakes[0]) == table.to_pylist()
    assert len(made_in(output)) == 1
    other = take_in_batches("features as of today", batches_of(base_of(24), 7), output)
    assert read_source(other.files).digest != read_source(intakes[0].files).digest
    assert rows_of(intakes[0]) == table.to_pylist()


def test_batches_are_not_gathered(output: Place) -> None:
    batch = pa.record_batch({"customer_id": pa.array(map(str, range(10_000))), "x": np.zeros(10_000)})
    batch_bytes, alive = batch.nbytes, 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal alive
        for _ in range(300):
            yield batch.take(pa.array(range(10_000)))
            alive = max(alive, pa.total_allocated_bytes() - before)

    with patch.object(module, "SHARD_ROWS", 20_000), patch.object(module, "repeated_ids", lambda files: iter(())):
        before = pa.total_allocated_bytes()
        take_in_batches("many", batches(), output)
    rows_alive = alive / batch_bytes * 10_000
    assert rows_alive < 5 * 20_000, "of 3,000,000"


def test_batches_with_ids_that_repeat(output: Place) -> None:
    intake = take_in_batches("two", iter(pa.concat_tables([base_of(2), base_of(1)]).to_batches()), output)
    assert intake.repeated is not None
    assert pq.read_table(intake.repeated.path).column(0).to_pylist() == ["0000"]


def test_no_batches_are_refused(output: Place) -> None:
    with pytest.raises(InputError, match="holds no customers"):
        take_in_batches("none", iter(()), output)
    assert made_in(output) == []


def test_a_run_goes_on_with_the_batches_that_it_took_in(output: Place) -> None:
    assert taken_before("today", output) is None
    intake = take_in_batches("today", iter(pa.concat_tables([base_of(9), base_of(1)]).to_batches()), output)
    assert taken_before("today", output) is None, "no run has begun with them"
    take_in_batches("today", iter(base_of(8).to_batches()), output)
    source = read_source(intake.files)
    (output / RUN_FILE).write(f'{{"input": {{"files": ["today"], "rows": 10, "digest": "{source.digest}"}}}}'.encode())
    assert taken_before("today", output) == intake
    assert taken_before("tomorrow", output) is None
    remove_made(output)
    assert taken_before("today", output) is None


def test_customers_are_read_at_once(tmp_path: Path) -> None:
    table = base_of(25).append_column("note", pa.nulls(25))
    pq.write_table(table, tmp_path / "a.parquet")
    found = read_customers([str(tmp_path / "a.parquet")], SCHEMA)
    assert found == table.select(COLUMNS.names)
    (tmp_path / "b.csv").write_text("customer_id,note,frequency\n007,x,1\n8,y,\n")
    found = read_customers([str(tmp_path / "b.csv")], SCHEMA)
    assert found.to_pydict() == {"customer_id": ["007", "8"], "frequency": [1.0, None]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.csv"]


def test_ids_that_are_numbers_are_read_as_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"customer_id": [7, 8]}), tmp_path / "a.parquet")
    assert read_customers([str(tmp_path / "a.parquet")], SCHEMA).to_pydict() == {"customer_id": ["7", "8"]}


WEB = (True, 1.0, 1.0, "web")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (base_of(3).rename_columns(["id", *COLUMNS.names[1:]]), "has no column customer_id"),
        (customers(("a", *WEB), (None, *WEB)), r"1 of 2 rows .* row 1 of .*a\.parquet, .*: has no customer_id; mend"),
        (customers(("a", *WEB), ("", *WEB)), r"row 1 of .*: has no customer_id"),
        (
            customers(("b", *WEB), ("a", *WEB), ("a", *WEB)),
            r"2 of 3 rows .*row 1 of .*: its customer_id stands more than",
        ),
        (base_of(3).set_column(1, "consent", pa.array(["yes"] * 3)), "consent must be true or false, is string"),
        (base_of(0), "holds no customers"),
    ],
)
def test_customers_who_are_none_are_refused(tmp_path: Path, table: pa.Table, complaint: str) -> None:
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=complaint):
        read_customers([str(tmp_path / "a.parquet")], SCHEMA)


def test_lines_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,frequency\n1,1\n2\n3,x\n")
    complaint = (
        r"2 of 3 rows cannot be used; the first is row 1 of .*a\.csv, .*: the line has 1 value, and the header 2"
    )
    with pytest.raises(InputError, match=complaint):
        read_customers([str(tmp_path / "a.csv")], SCHEMA)
