"""Who is taken out of scores is nowhere in them, and what counts them counts the others; a stopped run goes on."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.batch import shards
from services.batch.erase import erase, scores_folder_of
from services.batch.intake import INPUT_FOLDER, take_in
from services.batch.place import DRAFT_PREFIX, Place
from services.batch.plan import plan
from services.batch.run import LOCK_FILE, MANIFEST_FILE, BusyError, Summary, locked, run
from services.batch.shards import REJECTED_FOLDER, part_name
from services.batch.source import read_source
from tests.fakes.scoring import FakeModel, InTurn
from tests.support.batches import base_of, customers, source_of
from tests.support.bundles import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from services.batch.source import Shard, Source

GONE = frozenset({"0001", "0003", "0005", "twice", "nobody"})
"""One scored, one without consent, one whom the model refuses, one who stands twice."""

BASE = pa.concat_tables(
    [
        base_of(8),
        customers(*[("twice", True, 1.0, 1.0, "web")] * 2, (None, True, 1.0, 1.0, "web")),
        base_of(12).slice(8),
    ]
)
STAY = BASE.filter(pa.compute.invert(pa.compute.is_in(BASE.column("customer_id"), pa.array(sorted(GONE)))))


class StoppedError(Exception):
    pass


def scored(source: Source, folder: Path, model: FakeModel | None = None, stop_before: int = 100) -> Summary:
    """A run that finds 'twice' twice, and may stop before a shard."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"customer_id": ["twice"]}), folder / "repeated.parquet")
    output, repeated = Place(str(folder / "out")), Place(str(folder / "repeated.parquet"))

    def stop(shard: Shard) -> None:
        if shard.number == stop_before:
            raise StoppedError

    task, identity = plan([model or FakeModel()], source, output, repeated=repeated)
    return run(task, source, identity, InTurn(stop), progress=lambda done, rows: None)


def counts_of(summary: Summary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in ("rows", "rejected", "statuses", "bands", "bins")}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    return {str(path): path.read_bytes() for path in files}


def test_they_are_gone_and_the_others_are_counted(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in", BASE, shard_rows=6)
    scored(source, tmp_path / "erased")
    expected = scored(source_of(tmp_path / "without", STAY, shard_rows=100), tmp_path / "never there")
    output = tmp_path / "erased" / "out"
    before = json.loads((output / MANIFEST_FILE).read_text())
    assert erase(Place(str(output)), GONE) == 6, "the one whom the model refuses is in the part and set aside"
    left = pq.read_table(output)
    assert left.equals(pq.read_table(tmp_path / "never there" / "out"))
    aside = [row for path in (output / REJECTED_FOLDER).iterdir() for row in pq.read_table(path).to_pylist()]
    assert [row["customer_id"] for row in aside] == [None]
    manifest = json.loads((output / MANIFEST_FILE).read_text())
    assert manifest == {**before, **counts_of(expected)}
    assert not any(name.encode() in content for name in GONE for content in contents(output).values())


def test_a_run_that_stopped_goes_on_and_a_complete_one_is_not_begun_again(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in", BASE, shard_rows=6)
    with pytest.raises(StoppedError):
        scored(source, tmp_path, stop_before=2)
    assert erase(Place(str(tmp_path / "out")), GONE) == 6
    model = FakeModel()
    summary = scored(source, tmp_path, model)
    assert not set(model.asked) & {name for name in BASE.column("customer_id").to_pylist()[:12] if name}
    assert (summary.rows, summary.scored_now) == (STAY.num_rows, 3)
    again = scored(source, tmp_path, model := FakeModel())
    assert (model.asked, counts_of(again)) == ([], counts_of(summary))


def test_everybody_may_go(tmp_path: Path) -> None:
    scored(source_of(tmp_path / "in", base_of(8), shard_rows=4), tmp_path)
    everybody = base_of(8).column("customer_id").to_pylist()
    assert erase(Place(str(tmp_path / "out")), everybody) == 9
    assert pq.read_table(tmp_path / "out").num_rows == 0
    assert list((tmp_path / "out" / REJECTED_FOLDER).iterdir()) == []
    assert scored(source_of(tmp_path / "in", base_of(8), shard_rows=4), tmp_path).rejected_share == 0.0


def test_nothing_is_touched_where_they_are_not(tmp_path: Path) -> None:
    scored(source_of(tmp_path / "in", BASE, shard_rows=6), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert erase(Place(str(tmp_path / "out")), {"nobody"}) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize("write", ["write_scores", "write_rejected"])
def test_what_was_interrupted_is_done_by_doing_it_again(tmp_path: Path, write: str) -> None:
    source = source_of(tmp_path / "in", BASE, shard_rows=6)
    for at in range(3):
        scored(source, tmp_path / "at once")
        erase(Place(str(tmp_path / "at once" / "out")), GONE)
        scored(source, tmp_path / f"at {at}")
        real, output, written = getattr(shards, write), Place(str(tmp_path / f"at {at}" / "out")), 0

        def stopping(*values: Any, at: int = at, real: Any = real) -> None:
            nonlocal written
            written += 1
            if written > at:
                raise StoppedError
            real(*values)

        with patch(f"services.batch.erase.{write}", stopping), suppress(StoppedError):
            erase(output, GONE)
        erase(output, GONE)
        found, expected = [
            json.loads((tmp_path / name / "out" / MANIFEST_FILE).read_text()) for name in (f"at {at}", "at once")
        ]
        assert found == {**expected, "finished": found["finished"]}
        assert pq.read_table(output.path).equals(pq.read_table(tmp_path / "at once" / "out"))


def test_what_is_set_aside_without_a_part_and_what_killed_writers_left_goes_too(tmp_path: Path) -> None:
    scored(source_of(tmp_path / "in", BASE, shard_rows=6), tmp_path)
    output = tmp_path / "out"
    (output / part_name(0)).unlink()
    for folder in (output, output / REJECTED_FOLDER):
        (folder / f"{DRAFT_PREFIX}1-{part_name(0)}").write_bytes(b"0001")
    erase(Place(str(output)), GONE)
    assert not any(name.encode() in content for name in GONE for content in contents(output).values())


def test_what_was_made_of_the_input_is_deleted_if_they_are_in_it(tmp_path: Path) -> None:
    output, source = Place(str(tmp_path / "out")), tmp_path / "base.csv"
    source.write_text("customer_id,recency_days,frequency,channel\n0007,1,1,web\n8,2,2,shop\n")
    for customers_gone, stays in (({"7"}, True), ({"0007"}, False)):
        read_source(take_in([str(source)], output, [SCHEMA]).files)
        (made,) = (tmp_path / "out" / INPUT_FOLDER).iterdir()
        assert scores_folder_of(made) == tmp_path / "out"
        assert erase(output, customers_gone) == (not stays)
        assert made.exists() == stays


def test_a_folder_that_a_run_writes_into_is_not_touched(tmp_path: Path) -> None:
    scored(source_of(tmp_path / "in", BASE), tmp_path)
    before = contents(tmp_path / "out")
    with locked(Place(str(tmp_path / "out"))), pytest.raises(BusyError, match="another command writes into"):
        erase(Place(str(tmp_path / "out")), GONE)
    assert contents(tmp_path / "out") == before


def test_files_of_scores_are_known_by_what_stands_in_them(tmp_path: Path) -> None:
    scored(source_of(tmp_path / "in", BASE), tmp_path)
    output = tmp_path / "out"
    part, aside = output / part_name(0), output / REJECTED_FOLDER / part_name(0)
    assert scores_folder_of(part) == scores_folder_of(aside) == output
    moved = tmp_path / "elsewhere.parquet"
    moved.write_bytes(part.read_bytes())
    assert scores_folder_of(moved) == tmp_path
    (tmp_path / "words.parquet").write_text("no table")
    for stranger in (tmp_path / "in" / "0.parquet", tmp_path / "words.parquet", tmp_path / "nothing.parquet"):
        assert scores_folder_of(stranger) is None
