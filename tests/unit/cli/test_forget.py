"""regulars forget: whoever is named is gone from what the suite stored, and the business's own files are left alone."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.forget import erase, stored_tables
from cli.main import main
from features.forgotten import read_forgotten
from features.stamp import stamp_of, stamped
from services.batch.job import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

AS_OF = dt.date(2017, 12, 31)
ALL = ["a", "b", "c", "d"]
STATUSES = ["OK", "INACTIVE", "OK", "OK"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    file = tmp_path / "shop" / "regulars.toml"
    file.parent.mkdir()
    file.write_text(
        '[project]\nname = "Corner shop"\n[tables.transactions]\nsource = "orders.parquet"\ncustomer = "customer_id"\n'
        'time = "t"\namount = "a"\n'
    )
    return file


def score(folder: Path, ids: list[Any]) -> Path:
    """A folder of scores, as 'regulars score' writes it."""

    def engine(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.append_column("status", pa.array(STATUSES[: batch.num_rows]))

    run("churn", [pa.RecordBatch.from_pydict({"customer_id": ids})], engine, {"1"}, folder, lambda _: None)
    return folder / "scores.parquet"


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
    scores, features = score(project.parent / "out/december", ALL), build(project.parent / "data/customers.parquet")
    assert forget(project, "customer_id", "b", "d", "nobody") == 0
    assert ids_in(scores) == ids_in(features) == ["a", "c"]
    manifest = json.loads((scores.parent / "manifest.json").read_text())
    assert (manifest["rows"], manifest["statuses"], manifest["versions"]) == (2, {"OK": 2}, ["1"])
    assert stamp_of(features) == AS_OF
    assert read_forgotten(project.parent / ".regulars/forgotten.txt") == {"b", "d", "nobody"}
    told = capsys.readouterr().out
    assert "named: 3, of whom 3 are new" in told
    assert "train and promote anew" in told
    assert b"nobody" not in scores.read_bytes()
    assert [path for path in project.parent.rglob(".*.parquet")] == [], "no draft is left"  # noqa: C416 - reads better


def test_ids_that_are_numbers_are_found_by_their_text(project: Path) -> None:
    scores = score(project.parent / "out", [7, 8, 70])
    assert forget(project, "7") == 0
    assert ids_in(scores) == [8, 70]


def test_tables_of_the_business_are_left_alone(project: Path) -> None:
    own = project.parent / "orders.parquet"
    pq.write_table(pa.table({"customer_id": ALL}), own)
    lookalike = project.parent / "elsewhere" / "scores.parquet"
    lookalike.parent.mkdir()
    pq.write_table(pa.table({"customer_id": ALL, "status": STATUSES}), lookalike)
    before = own.read_bytes(), lookalike.read_bytes()
    assert forget(project, *ALL) == 0
    assert (own.read_bytes(), lookalike.read_bytes()) == before


def test_other_places_are_searched_where_they_are_given(project: Path, tmp_path: Path) -> None:
    far, hidden = score(tmp_path / "far", ALL), score(project.parent / ".hidden", ALL)
    assert forget(project, "a") == 0
    assert ids_in(far) == ids_in(hidden) == ALL
    assert forget(project, "a", options=("--in", str(far.parent), "--in", str(hidden.parent))) == 0
    assert ids_in(far) == ids_in(hidden) == ["b", "c", "d"]


def test_a_place_within_another_is_searched_once(project: Path) -> None:
    scores = score(project.parent / "out", ALL)
    assert list(stored_tables([project.parent, scores.parent, project.parent])) == [scores]


def test_a_table_without_them_is_not_touched(project: Path) -> None:
    scores = score(project.parent / "out", ALL)
    before = scores.stat().st_mtime_ns, scores.stat().st_ino
    assert erase(scores, frozenset({"nobody"})) == 0
    assert (scores.stat().st_mtime_ns, scores.stat().st_ino) == before


def test_a_table_may_lose_everybody(project: Path) -> None:
    scores = score(project.parent / "out", ALL)
    assert erase(scores, frozenset(ALL)) == 4
    assert ids_in(scores) == []
    assert json.loads((scores.parent / "manifest.json").read_text())["rows"] == 0


def test_twice_is_as_good_as_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score(project.parent / "out", ALL)
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
