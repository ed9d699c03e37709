"""A run that is killed, interrupted or out of disk space, and started again, ends as one that nothing has disturbed."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.batch.place import DRAFT_PREFIX, Place
from services.batch.run import LOCK_FILE, MANIFEST_FILE
from services.batch.shards import REJECTED_FOLDER, footer_in
from services.batch.source import SHARD_ROWS
from tests.support.bundles import CHURN, random_columns
from tests.support.polling import eventually

if TYPE_CHECKING:
    from pathlib import Path

SHARDS = 12
ROWS = SHARDS * SHARD_ROWS - SHARD_ROWS // 2

KILLS = 5
"""Of each run."""

PROCESSES = ("1", "2")

LONGEST_SECONDS = 0.12
"""From when an attempt begins to write its first part to its end: an eighth of the whole base's time, or less."""

FILE_LIMIT = 200_000
"""Bytes: a state and a list of those set aside, and not a part."""


@dataclass(frozen=True)
class Scoring:
    """The same command again and again."""

    folder: Path
    output: Path

    def start(self, processes: str = "2") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cli.main", "score", "churn", "--bundles", str(self.folder / "bundles")]
        command += ["--input", str(self.folder / "base.parquet"), "--output", str(self.output)]
        command += ["--workers", processes]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self) -> str:
        process = self.start()
        said, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
        return said

    def parts(self) -> dict[str, int]:
        """The finished parts, by when they were written."""
        found = (path for path in self.output.glob("part-*") if footer_in(Place(str(path))))
        return {path.name: path.stat().st_mtime_ns for path in found}

    def names(self) -> set[str]:
        """Parts and drafts, those of killed attempts among them."""
        return {path.name for pattern in ("part-*", f"{DRAFT_PREFIX}*") for path in self.output.glob(pattern)}

    def left(self) -> dict[str, Any]:
        files: dict[str, Any] = {
            str(path.relative_to(self.output)): path.read_bytes() for path in self.output.rglob("*") if path.is_file()
        }
        del files[LOCK_FILE]
        files[MANIFEST_FILE] = {**json.loads(files[MANIFEST_FILE]), "finished": None}
        return files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    CHURN.release(folder / "bundles", "1")
    columns = random_columns(ROWS, seed=3)
    lacking = np.random.default_rng(4).random(ROWS) < 0.002
    base = pa.table(
        {
            "customer_id": [f"{row:07}" for row in range(ROWS)],
            "recency_days": pa.array(columns.numeric[:, 0], mask=lacking),
            "frequency": columns.numeric[:, 1],
            "channel": columns.categorical[:, 0],
        }
    )
    pq.write_table(base, folder / "base.parquet", row_group_size=SHARD_ROWS * 2 // 3)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, Any]:
    scoring = Scoring(folder, folder / "undisturbed")
    scoring.finish()
    return scoring.left()


def killed_again_and_again(scoring: Scoring, processes: str) -> int:
    """How many attempts were killed in the middle of a run, some by a polite signal."""
    moments = random.Random(processes)
    return sum(
        killed_at(
            scoring, processes, moments.uniform(0, LONGEST_SECONDS), signal.SIGTERM if number == 1 else signal.SIGKILL
        )
        for number in range(KILLS)
    )


def killed_at(scoring: Scoring, processes: str, seconds: float, by: signal.Signals) -> bool:
    """Whether the attempt was killed before its end; what it started ends with it."""
    before, names = scoring.parts(), scoring.names()
    process = scoring.start(processes)
    eventually(lambda: scoring.names() - names or process.poll() is not None, "the attempt to write a part")
    time.sleep(seconds)
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(by)
    process.communicate(timeout=60)
    eventually(lambda: not any(map(_runs, family)), "the processes of the run to end with it")
    assert before.items() <= scoring.parts().items(), "a finished part is not written again"
    return process.returncode == -by


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def test_a_run_that_is_killed_ten_times_loses_nothing_and_repeats_nothing(
    folder: Path, undisturbed: dict[str, Any]
) -> None:
    runs = {processes: Scoring(folder, folder / f"killed with {processes}") for processes in PROCESSES}
    with ThreadPoolExecutor(len(runs)) as threads:
        killed = list(threads.map(killed_again_and_again, runs.values(), runs))
    for scoring in runs.values():
        scoring.finish()
        assert scoring.left() == undisturbed
    scored = pq.read_table(folder / "killed with 1").column("customer_id")
    assert scored.to_pylist() == [f"{row:07}" for row in range(ROWS)]
    assert sum(killed) >= KILLS, "most attempts ended before they were killed"


def interrupted(scoring: Scoring) -> subprocess.Popen[str]:
    process = scoring.start()
    eventually(lambda: scoring.parts() or process.poll() is not None, "a part")
    # To all of the group, as a terminal sends it.
    parent = psutil.Process(process.pid)
    for one in (parent, *parent.children(recursive=True)):
        one.send_signal(signal.SIGINT)
    return process


def test_what_is_interrupted_says_how_far_it_is_and_a_full_disk_what_is_full(
    folder: Path, undisturbed: dict[str, Any]
) -> None:
    scoring = Scoring(folder, folder / "interrupted")
    process = interrupted(scoring)
    _, complaint = process.communicate(timeout=60)
    done = scoring.parts()
    assert process.returncode == 130
    assert "interrupted: " in complaint
    assert f"of {ROWS:,} rows are scored; the same command goes on from there" in complaint
    assert "Traceback" not in complaint
    assert 0 < len(done) < SHARDS

    process = scoring.start()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.splitlines()[-1].startswith("regulars score: [Errno 27] File too large: ")
    assert str(scoring.output) in complaint
    assert not any(path.name.startswith(DRAFT_PREFIX) for path in scoring.output.rglob("*"))
    assert scoring.parts() == done

    scoring.finish()
    assert done.items() <= scoring.parts().items(), "a finished part is not written again"
    assert scoring.left() == undisturbed
    assert any((scoring.output / REJECTED_FOLDER).iterdir())
