"""regulars forget: whoever is named is gone from what the suite stored, and the business's own files are left alone."""

from __future__ import annotations

import csv
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import main
from features.forgotten import read_forgotten
from features.stamp import stamp_of, stamped
from services.batch.export import Wanted, export
from services.batch.place import Place
from services.batch.plan import plan
from services.batch.run import MANIFEST_FILE, locked, run
from services.batch.shards import REJECTED_FOLDER, part_name
from tests.fakes.scoring import FakeModel, InTurn
from tests.support.batches import customers, source_of

if TYPE_CHECKING:
    from pathlib import Path

AS_OF = dt.date(2017, 12, 31)
ALL = ["a", "b", "c", "d"]
DAYS = [1.0, 95.0, 2.0, None]
"""The second is inactive, and the last is refused."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    file = tmp_path / "shop" / "regulars.toml"
    file.parent.mkdir()
    file.write_text(
        '[project]\nname = "Corner shop"\n[tables.transactions]\nsource = "orders.parquet"\ncustomer = "customer_id"\n'
        'time = "t"\namount = "a"\n'
    )
    return file


def score(folder: Path, ids: list[str] = ALL) -> Path:
    """A folder of scores, as 'regulars score' writes it, in parts of three."""
    table = customers(*((name, True, days, 1.0, "web") for name, days in zip(ids, DAYS, strict=False)))
    source = source_of(folder.parent / f".input of {folder.name}", table, shard_rows=3)
    task, identity = plan([FakeModel()], source, Place(str(folder)))
    run(task, source, identity, InTurn(), progress=lambda done, rows: None)
    return folder


def build(file: Path) -> Path:
    """A table of features, as 'regulars features build' writes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(stamped(pa.table({"customer_id": ALL, "frequency": [1.0, 2.0, 3.0, 4.0]}), AS_OF), file)
    return file


def forget(project: Path, *names: str, options: tuple[str, ...] = ()) -> int:
    ids = project.parent / "ids.txt"
    ids.write_text("".join(f"{name}\n" for name in names))
    return main(["forget", str(ids), "--project", str(project), *options])


def ids_in(path: Path) -> list[Any]:
    names: list[Any] = pq.read_table(path)["customer_id"].to_pylist()
    return names


def test_scores_and_features_beside_the_project_lose_them(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, features = score(project.parent / "out/december"), build(project.parent / "data/customers.parquet")
    aside = scores / REJECTED_FOLDER / part_name(1)
    assert ids_in(aside) == ["d"]
    assert forget(project, "customer_id", "b", "d", "nobody") == 0
    assert ids_in(scores) == ids_in(features) == ["a", "c"]
    assert not aside.exists()
    manifest = json.loads((scores / MANIFEST_FILE).read_text())
    assert (manifest["rows"], manifest["rejected"], manifest["statuses"]) == (2, 0, {"churn": {"OK": 2}})
    assert (manifest["bins"], manifest["bands"]) == ({"churn_days": [2, 0, 0]}, {"churn_channel": {"web": 2}})
    assert stamp_of(features) == AS_OF
    assert read_forgotten(project.parent / ".regulars/forgotten.txt") == {"b", "d", "nobody"}
    told = capsys.readouterr().out
    assert "named: 3, of whom 3 are new" in told
    assert "train and promote anew" in told
    assert "lists that were loaded elsewhere" in told
    assert b"nobody" not in (scores / part_name(0)).read_bytes()
    assert [path for path in project.parent.rglob(".*.parquet")] == [], "no draft is left"  # noqa: C416 - reads better


def test_ids_are_found_by_their_text(project: Path) -> None:
    scores = score(project.parent / "out", ["7", "007", "70"])
    assert forget(project, "7") == 0
    assert ids_in(scores) == ["007", "70"]


def test_features_whose_ids_are_numbers_lose_them_too(project: Path) -> None:
    numbers = project.parent / "numbers.parquet"
    pq.write_table(stamped(pa.table({"customer_id": [7, 8, 70]}), AS_OF), numbers)
    assert forget(project, "7") == 0
    assert ids_in(numbers) == [8, 70]


def test_tables_of_the_business_are_left_alone(project: Path) -> None:
    own = project.parent / "orders.parquet"
    pq.write_table(pa.table({"customer_id": ALL}), own)
    lookalike = project.parent / "elsewhere" / part_name(0)
    (lookalike.parent / REJECTED_FOLDER).mkdir(parents=True)
    pq.write_table(pa.table({"customer_id": ALL, "churn_status": ["OK"] * 4}), lookalike)
    aside = lookalike.parent / REJECTED_FOLDER / part_name(0)
    pq.write_table(pa.table({"customer_id": ALL, "reason": ALL}), aside)
    (lookalike.parent / MANIFEST_FILE).write_text('{"rows": 4}')
    before = {path: path.read_bytes() for path in project.parent.rglob("*") if path.is_file()}
    assert forget(project, *ALL) == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_lookalike_among_the_parts_is_left_alone(project: Path) -> None:
    scores = score(project.parent / "out")
    pq.write_table(pa.table({"customer_id": ALL}), scores / "own.parquet")
    assert forget(project, "a", "b", "c", "d") == 0
    assert ids_in(scores / "own.parquet") == ALL
    assert ids_in(scores / part_name(0)) == ids_in(scores / part_name(1)) == []


def test_a_part_that_was_copied_elsewhere_loses_them_too(project: Path) -> None:
    copy = project.parent / "copies" / "of december.parquet"
    copy.parent.mkdir()
    copy.write_bytes((score(project.parent / "out") / part_name(0)).read_bytes())
    assert forget(project, "a") == 0
    assert ids_in(copy) == ["b", "c"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_lists_that_were_exported_lose_them(project: Path, suffix: str) -> None:
    scores = score(project.parent / "out", ["007", "+8", "9, of Paris"])
    made = project.parent / "lists" / f"best{suffix}"
    made.parent.mkdir()
    wanted = Wanted(columns=("churn_days",), names={"customer_id": "Client"})
    export([Place(str(scores))], Place(str(made)), wanted)
    beside = made.with_name(f"{made.name}.json")
    before, told = made.read_bytes(), json.loads(beside.read_text())
    own = made.with_name(f"own{suffix}")
    own.write_bytes(before)
    assert told["rows"] == 3
    assert forget(project, "nobody", "7") == 0
    assert made.read_bytes() == before
    assert forget(project, "9, of Paris") == 0
    left = pq.read_table(made).to_pylist() if suffix == ".parquet" else list(csv.DictReader(made.open(newline="")))
    assert {row["Client"] for row in left} == {"007", "+8"}
    assert b"Paris" not in made.read_bytes()
    assert json.loads(beside.read_text()) == {**told, "rows": 2}
    assert own.read_bytes() == before, "nothing beside it says that it is a list"


def test_a_list_that_somebody_changed_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = project.parent / "best.csv"
    export([Place(str(score(project.parent / "out")))], Place(str(made)), Wanted())
    made.write_text("Client\na\n")
    assert forget(project, "a") == 1
    assert "best.csv has changed since it was exported" in capsys.readouterr().err


def test_other_places_are_searched_where_they_are_given(project: Path, tmp_path: Path) -> None:
    far, hidden = score(tmp_path / "far"), score(project.parent / ".hidden")
    assert forget(project, "a") == 0
    assert ids_in(far) == ids_in(hidden) == ALL
    assert forget(project, "a", options=("--in", str(far), "--in", str(hidden))) == 0
    assert ids_in(far) == ids_in(hidden) == ["b", "c", "d"]


def test_a_place_within_another_is_searched_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score(project.parent / "out")
    assert forget(project, "a", options=("--in", str(scores), "--in", str(project.parent))) == 0
    assert capsys.readouterr().out.count(str(scores)) == 1


def test_a_table_without_them_is_not_touched(project: Path) -> None:
    stored = [*score(project.parent / "out").rglob("*.parquet"), build(project.parent / "features.parquet")]
    before = [(path.stat().st_mtime_ns, path.stat().st_ino) for path in stored]
    assert forget(project, "nobody") == 0
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in stored] == before


def test_scores_that_a_run_writes_now_are_not_touched(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score(project.parent / "out")
    with locked(Place(str(scores))):
        assert forget(project, "a") == 1
    assert "another command writes into" in capsys.readouterr().err
    assert ids_in(scores) == ALL
    assert read_forgotten(project.parent / ".regulars/forgotten.txt") == {"a"}, "nobody on the list is read again"


def test_twice_is_as_good_as_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score(project.parent / "out")
    forget(project, "a")
    capsys.readouterr()
    assert forget(project, "a") == 0
    assert "named: 1, of whom 0 are new" in capsys.readouterr().out
    assert ids_in(scores) == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("names", "options", "complaint"),
    [
        ((), (), "names nobody; write one customer id a line"),
        (("a",), ("--in", "nowhere"), "nowhere is no folder; give --in a folder with scores or features"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, ...],
    options: tuple[str, ...],
    complaint: str,
) -> None:
    assert forget(project, *names, options=options) == 1
    assert complaint in capsys.readouterr().err
