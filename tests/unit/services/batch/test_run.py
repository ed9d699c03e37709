"""A run is as good as its attempts: however often it was stopped, what it leaves is what it would have left at once."""

from __future__ import annotations

import errno
import json
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.batch.errors import BatchError, ChangedError
from services.batch.place import DRAFT_PREFIX, Place
from services.batch.plan import plan
from services.batch.run import (
    LOCK_FILE,
    MANIFEST_FILE,
    RUN_FILE,
    BusyError,
    Summary,
    TooManyRejectedError,
    is_complete,
    locked,
    run,
)
from services.batch.shards import REJECTED_FOLDER, footer_in, part_name
from tests.fakes.scoring import FakeModel, InTurn
from tests.support.batches import base_of, customers, source_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from services.batch.source import Source

SHARDS = 4
BASE = base_of(5 * SHARDS - 2)
ROWS = BASE.num_rows


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return source_of(tmp_path / "in", BASE, shard_rows=5)


def attempt(
    source: Source,
    output: Path,
    model: FakeModel | None = None,
    engine: InTurn | None = None,
    *,
    with_features: bool = False,
    told: list[tuple[int, int]] | None = None,
    **options: Any,
) -> Summary:
    task, identity = plan([model or FakeModel()], source, Place(str(output)), with_features=with_features)
    progress = (lambda done, rows: told.append((done, rows))) if told is not None else (lambda done, rows: None)
    return run(task, source, identity, engine or InTurn(), progress=progress, **options)


def left_in(output: Path) -> dict[str, Any]:
    """All files of a folder, the manifest without the time at which the last attempt ended."""
    files: dict[str, Any] = {
        str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()
    }
    files.pop(LOCK_FILE)
    if MANIFEST_FILE in files:
        files[MANIFEST_FILE] = {**json.loads(files[MANIFEST_FILE]), "finished": None}
    return files


class KilledError(BaseException):
    """Nobody handles it, as nobody handles a kill."""


How = Literal["killed before it was whole", "killed after", "the disk is full"]


@dataclass(frozen=True)
class Stop:
    """Ends an attempt: before the shard number `at` that it works on, or in the file number `at` that it writes."""

    at: int
    how: How | None

    def before(self) -> InTurn:
        def fail(shard: object) -> None:
            if self.how is None and len(engine.worked) == self.at:
                raise KilledError

        engine = InTurn(fail)
        return engine

    @contextmanager
    def in_writing(self) -> Iterator[None]:
        real, written = Place.writing, 0

        @contextmanager
        def writing(place: Place) -> Iterator[Any]:
            nonlocal written
            written += 1
            if written <= self.at or self.how is None:
                with real(place) as file:
                    yield file
            elif self.how == "killed before it was whole":
                Path((place.parent / f"{DRAFT_PREFIX}1-{place.name}").path).write_bytes(b"half of it")
                raise KilledError
            elif self.how == "killed after":
                with real(place) as file:
                    yield file
                raise KilledError
            else:
                with real(place) as file:
                    file.write(b"half of it")
                    raise OSError(errno.ENOSPC, "No space left on device")

        with patch.object(Place, "writing", writing):
            yield


HOWS: tuple[How, ...] = ("killed before it was whole", "killed after", "the disk is full")

WRITES = SHARDS + 4
"""Files of a run: the parts, the state, the manifest, and what was set aside from two parts."""

stops = st.builds(Stop, st.integers(0, WRITES), st.sampled_from([None, *HOWS]))


def ids_done(output: Path) -> set[str]:
    """Who stands in finished parts."""
    parts = [path for path in output.glob("part-*") if footer_in(Place(str(path)))]
    return {name for part in parts for name in pq.read_table(part).column("customer_id").to_pylist()}


@settings(max_examples=25, deadline=None)
@given(st.lists(stops, max_size=5), st.booleans())
def test_attempts_that_failed_anywhere_leave_what_one_that_did_not_leaves(
    stops: list[Stop], with_features: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = source_of(folder / "in", BASE, shard_rows=5)
        attempt(source, folder / "at once", with_features=with_features)
        for stop in stops:
            model, done = FakeModel(), ids_done(folder / "out")
            with stop.in_writing(), suppress(KilledError, OSError):
                attempt(source, folder / "out", model, stop.before(), with_features=with_features)
            assert not done & set(model.asked), "a finished shard is not scored again"
        model, done = FakeModel(), ids_done(folder / "out")
        summary = attempt(source, folder / "out", model, with_features=with_features)
        assert not done & set(model.asked)
        assert left_in(folder / "out") == left_in(folder / "at once")
        assert (summary.rows, summary.parts) == (ROWS, SHARDS)


@pytest.mark.parametrize("how", HOWS)
def test_an_attempt_may_fail_in_any_file_that_it_writes(source: Source, tmp_path: Path, how: How) -> None:
    attempt(source, tmp_path / "at once")
    for at in range(WRITES):
        stop, output = Stop(at, how), tmp_path / f"out {at}"
        with stop.in_writing(), pytest.raises(OSError if how == "the disk is full" else KilledError):
            attempt(source, output)
        assert (how == "killed before it was whole") == any(output.rglob(f"{DRAFT_PREFIX}*"))
        attempt(source, output)
        assert left_in(output) == left_in(tmp_path / "at once")


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_shards_may_be_worked_on_in_any_order(shuffle: random.Random) -> None:
    with tempfile.TemporaryDirectory() as name:
        source = source_of(Path(name) / "in", BASE, shard_rows=5)
        engine = InTurn(order=lambda shards: shuffle.sample(shards, len(shards)))
        found = attempt(source, Path(name) / "out", engine=engine)
        expected = attempt(source, Path(name) / "in turn")
        assert left_in(Path(name) / "out") == left_in(Path(name) / "in turn")
        assert (found.statuses, found.bands, found.bins) == (expected.statuses, expected.bands, expected.bins)


def test_the_parts_are_the_base_and_the_summary_is_theirs(source: Source, tmp_path: Path) -> None:
    summary = attempt(source, tmp_path / "out")
    scores = pq.read_table(tmp_path / "out")
    assert scores.column("customer_id").to_pylist() == BASE.column("customer_id").to_pylist()
    statuses = scores.column("churn_status").to_pylist()
    assert summary.statuses == {"churn": {name: statuses.count(name) for name in sorted(set(statuses))}}
    assert set(statuses) == {"OK", "NO_CONSENT", "REFUSED"}
    channels = scores.column("churn_channel").to_pylist()
    assert summary.bands == {"churn_channel": {name: channels.count(name) for name in ("", "shop", "web")}}
    days = [value for value in scores.column("churn_days").to_pylist() if value is not None]
    assert summary.bins == {"churn_days": [sum(day < 10 for day in days), sum(10 <= day < 20 for day in days), 0]}
    assert (summary.rows, summary.scored_now, summary.parts) == (ROWS, ROWS, SHARDS)
    assert summary.rejected == statuses.count("REFUSED") == 2
    assert summary.rejected_share == 2 / ROWS
    manifest = json.loads((tmp_path / "out" / MANIFEST_FILE).read_text())
    assert {name: manifest[name] for name in ("rows", "rejected", "statuses", "bands", "bins", "parts")} == {
        name: getattr(summary, name) for name in ("rows", "rejected", "statuses", "bands", "bins", "parts")
    }
    assert manifest["models"] == {"churn": {"version": "1", "digest": "d" * 64}}


def test_progress_goes_on_where_the_last_attempt_stopped(source: Source, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with pytest.raises(KilledError):
        attempt(source, tmp_path / "out", engine=Stop(2, None).before(), told=told)
    assert told == [(0, ROWS), (5, ROWS), (10, ROWS)]
    told.clear()
    summary = attempt(source, tmp_path / "out", told=told)
    assert told == [(10, ROWS), (15, ROWS), (ROWS, ROWS)]
    assert (summary.rows, summary.scored_now) == (ROWS, ROWS - 10)


def test_a_complete_run_is_left_as_it_is(source: Source, tmp_path: Path) -> None:
    first = attempt(source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    engine, model = InTurn(), FakeModel()
    again = attempt(source, tmp_path / "out", model, engine)
    assert (engine.worked, model.asked, again.scored_now) == ([], [], 0)
    assert (again.rows, again.statuses, again.bins) == (first.rows, first.statuses, first.bins)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_the_manifest_is_there_only_while_all_parts_are(source: Source, tmp_path: Path) -> None:
    output, seen = Place(str(tmp_path / "out")), list[bool]()
    watching = InTurn(lambda shard: seen.append(is_complete(output)))
    attempt(source, tmp_path / "out", engine=watching)
    (tmp_path / "out" / part_name(1)).unlink()
    attempt(source, tmp_path / "out", engine=watching)
    assert seen == [False] * (SHARDS + 1)
    assert is_complete(output)
    attempt(source, tmp_path / "out", FakeModel(version="2"), engine=watching, restart=True)
    assert seen == [False] * (2 * SHARDS + 1)


@pytest.mark.parametrize("damage", ["truncated", "empty", "of another run", "of another shard"])
def test_a_part_that_is_not_what_it_should_be_is_written_again(source: Source, tmp_path: Path, damage: str) -> None:
    attempt(source, tmp_path / "out")
    expected = left_in(tmp_path / "out")
    part = tmp_path / "out" / part_name(2)
    if damage == "of another run":
        attempt(source, tmp_path / "other", FakeModel(version="2"))
        part.write_bytes((tmp_path / "other" / part_name(2)).read_bytes())
    elif damage == "of another shard":
        part.write_bytes((tmp_path / "out" / part_name(1)).read_bytes())
    else:
        part.write_bytes(part.read_bytes()[:-20] if damage == "truncated" else b"")
    engine = InTurn()
    attempt(source, tmp_path / "out", engine=engine)
    assert engine.worked == [2]
    assert left_in(tmp_path / "out") == expected


def test_what_has_changed_is_named_and_refused(source: Source, tmp_path: Path) -> None:
    attempt(source, tmp_path / "out")
    before = left_in(tmp_path / "out")
    elsewhere = source_of(tmp_path / "elsewhere", base_of(7))
    for changed, options, complaint in (
        (source, {"model": FakeModel(version="2")}, "churn was version 1, is 2"),
        (source, {"model": FakeModel(digest="e" * 64)}, "churn is another version 1"),
        (source, {"model": FakeModel("cltv")}, "churn was version 1, is nothing; cltv was version nothing, is 1"),
        (source, {"with_features": True}, "it wrote other features beside the scores"),
        (elsewhere, {}, "its input was another"),
    ):
        with pytest.raises(ChangedError) as refused:
            attempt(changed, tmp_path / "out", **options)
        assert f"holds another run: {complaint}. Give another --output, or --restart to replace it" in str(
            refused.value
        )
    assert left_in(tmp_path / "out") == before


def test_what_another_release_began_is_refused(source: Source, tmp_path: Path) -> None:
    attempt(source, tmp_path / "out")
    said = json.loads((tmp_path / "out" / RUN_FILE).read_text())
    (tmp_path / "out" / RUN_FILE).write_text(json.dumps({**said, "format": 0, "models": ["churn"]}))
    with pytest.raises(ChangedError, match="holds another run: another release began it"):
        attempt(source, tmp_path / "out")


def test_a_restart_replaces_all_of_the_other_run(source: Source, tmp_path: Path) -> None:
    attempt(source_of(tmp_path / "long", base_of(50), shard_rows=5), tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("of the user")
    attempt(source, tmp_path / "out", restart=True)
    attempt(source, tmp_path / "fresh")
    left = left_in(tmp_path / "out")
    assert left.pop("notes.txt") == b"of the user"
    assert left == left_in(tmp_path / "fresh")


def test_a_restart_that_was_killed_is_made_again(source: Source, tmp_path: Path) -> None:
    attempt(source, tmp_path / "fresh")
    other = source_of(tmp_path / "other", base_of(20), shard_rows=5)
    real = Place.remove
    for at in range(10):
        output, removals = tmp_path / f"out {at}", 0
        attempt(other, output)

        def remove(place: Place, at: int = at) -> None:
            nonlocal removals
            removals += 1
            if removals > at:
                raise KilledError
            real(place)

        with patch.object(Place, "remove", remove), suppress(KilledError):
            attempt(source, output, restart=True)
        attempt(source, output, restart=True)
        assert left_in(output) == left_in(tmp_path / "fresh")


def test_parts_that_no_known_run_wrote_are_not_touched(source: Source, tmp_path: Path) -> None:
    attempt(source, tmp_path / "out")
    (tmp_path / "out" / RUN_FILE).unlink()
    before = left_in(tmp_path / "out")
    for restart in (False, True):
        with pytest.raises(ChangedError, match="holds parts of no run that is known here; give another --output"):
            attempt(source, tmp_path / "out", restart=restart)
    assert left_in(tmp_path / "out") == before


def test_a_part_too_many_is_named(source: Source, tmp_path: Path) -> None:
    attempt(source, tmp_path / "out")
    (tmp_path / "out" / "part-00099.parquet").write_bytes((tmp_path / "out" / part_name(0)).read_bytes())
    with pytest.raises(ChangedError, match=r"holds part-00099\.parquet, which is no part of this run; take it away"):
        attempt(source, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_state_that_is_damaged_is_said_as_it_is(source: Source, tmp_path: Path, content: bytes) -> None:
    attempt(source, tmp_path / "out")
    (tmp_path / "out" / RUN_FILE).write_bytes(content)
    with pytest.raises(BatchError, match=r"_run\.json is damaged; give another --output, or delete the folder"):
        attempt(source, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("part-*"))) == SHARDS


def test_two_do_not_write_into_one_folder(source: Source, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with locked(Place(str(tmp_path / "out"))), pytest.raises(BusyError, match="another command writes into"):
        attempt(source, tmp_path / "out")
    attempt(source, tmp_path / "out")


def test_a_run_is_not_complete_where_nothing_was_heard_of_a_part(source: Source, tmp_path: Path) -> None:
    forgetful = InTurn(order=lambda shards: shards[:-1])
    with pytest.raises(BatchError, match=r"nothing was heard of 1 parts, part-00003\.parquet first; run it again"):
        attempt(source, tmp_path / "out", engine=forgetful)
    assert not is_complete(Place(str(tmp_path / "out")))


def test_a_folder_that_cannot_be_is_said_as_it_is(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=f"{tmp_path}/file/out"):
        attempt(source, tmp_path / "file" / "out")


def test_too_many_set_aside_fail_at_the_end_and_leave_what_was_scored(source: Source, tmp_path: Path) -> None:
    with pytest.raises(TooManyRejectedError) as refused:
        attempt(source, tmp_path / "out", most_rejected=0.1)
    assert f"2 of {ROWS} rows (11.11%) could not be scored, and at most 10.00% may not" in str(refused.value)
    assert str(tmp_path / "out" / REJECTED_FOLDER) in str(refused.value)
    assert (refused.value.summary.rows, refused.value.summary.rejected) == (ROWS, 2)
    assert len(list((tmp_path / "out").glob("part-*"))) == SHARDS
    assert not is_complete(Place(str(tmp_path / "out")))
    model = FakeModel()
    attempt(source, tmp_path / "out", model, most_rejected=2 / ROWS)
    attempt(source, tmp_path / "fresh")
    assert model.asked == []
    assert left_in(tmp_path / "out") == left_in(tmp_path / "fresh")


def test_bins_that_a_part_lacks_are_not_summed_over_the_others(source: Source, tmp_path: Path) -> None:
    """A server does not tell the bins, and a run may begin here and end through one."""
    with pytest.raises(KilledError):
        attempt(source, tmp_path / "out", engine=Stop(2, None).before())
    summary = attempt(source, tmp_path / "out", FakeModel(tells_edges=False))
    assert summary.bins == {}
    assert sum(summary.statuses["churn"].values()) == ROWS


def test_a_base_of_which_nobody_is_scored_is_complete(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in", customers(*[(None, True, 1.0, 1.0, "web")] * 7), shard_rows=5)
    summary = attempt(source, tmp_path / "out")
    assert (summary.rows, summary.rejected, summary.statuses, summary.bins) == (
        7,
        7,
        {"churn": {}},
        {"churn_days": [0] * 3},
    )
    assert pq.read_table(tmp_path / "out").num_rows == 0
