"""Processes that work on shards: what fails in one is heard here, and none outlives the run."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.bundle import BundleError
from model_registry.frame import FrameError
from model_registry.readings import ScoringError
from services.batch.engines import STRETCH_SHARDS, LocalEngine, WorkerDiedError, stretches
from services.batch.errors import BatchError, ChangedError, InputError
from services.batch.place import Place
from services.batch.scorers import TableRefusedError
from services.batch.shards import ShardReport, Task, part_name
from services.batch.source import Shard, Slice
from services.client import CallError, SecurityError
from tests.fakes.troubled import TroubledModel, fail, sleep_for_ever
from tests.support.polling import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[4]
ROWS, SHARDS = 20, 5

RAISED = [
    BatchError("the shard cannot be scored"),
    InputError("the input is damaged"),
    ChangedError("another version"),
    TableRefusedError("the table that starts with 'a' was refused"),
    WorkerDiedError("killed"),
    BundleError("no bundle"),
    FrameError("column a must be text, is double"),
    ScoringError("the graph failed on these customers"),
    SecurityError("ca.pem: No such file or directory"),
    CallError(grpc.StatusCode.INVALID_ARGUMENT, "does not fit", "INVALID_CUSTOMERS", {"customers.ids[0]": "is odd"}),
    OSError(28, "No space left on device", "/scores/part-00000.parquet"),
    FileNotFoundError(2, "No such file or directory", "/customers.parquet"),
    pa.ArrowInvalid("not Parquet"),
]
"""Of every class that comes out of the work on a shard, as it is raised."""


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    """Of four customers each, `a0` to `a19`."""
    file = tmp_path / "customers.parquet"
    pq.write_table(pa.table({"customer_id": [f"a{row}" for row in range(ROWS)], "orders": list(range(ROWS))}), file)
    rows = ROWS // SHARDS
    return [
        Shard(number, (Slice(str(file), str(file), 0, number * rows, rows, number * rows),)) for number in range(SHARDS)
    ]


def task_for(model: TroubledModel, folder: Path) -> Task:
    (folder / "_rejected").mkdir(parents=True, exist_ok=True)
    return Task("run", Place(str(folder)), (model,), ("customer_id", "orders"))


def parts_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("part-*"))


@given(st.integers(0, 500), st.integers(1, 40))
def test_stretches_hold_each_shard_once_and_become_no_longer(count: int, workers: int) -> None:
    shards = [Shard(number, ()) for number in range(count)]
    taken = list(stretches(shards, workers))
    assert [shard for stretch in taken for shard in stretch] == shards
    lengths = [len(stretch) for stretch in taken]
    assert lengths == sorted(lengths, reverse=True)
    assert all(1 <= length <= STRETCH_SHARDS for length in lengths)
    # The last of all is a single shard, wherever there is one for each worker.
    assert count < workers or lengths[-1] == 1


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield

    def ended() -> bool:
        # Python's own helper stays until the interpreter ends.
        after = set(psutil.Process().children(recursive=True)) - before
        return not any("spawn_main" in " ".join(child.cmdline()) for child in after if child.is_running())

    eventually(ended, "the processes to end")


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_every_shard_is_reported_once_and_its_part_is_there(
    processes: int, shards: list[Shard], tmp_path: Path
) -> None:
    reported = []
    for report in LocalEngine(processes).work(task_for(TroubledModel(), tmp_path / "out"), shards):
        assert part_name(report.number) in parts_in(tmp_path / "out")
        reported.append(report.number)
    assert sorted(reported) == list(range(SHARDS))
    scores = pq.read_table(tmp_path / "out").to_pydict()
    assert scores["customer_id"] == [f"a{row}" for row in range(ROWS)]
    assert scores["half"] == [row / 2 for row in range(ROWS)]


def test_a_single_shard_needs_no_other_process(shards: list[Shard], tmp_path: Path) -> None:
    before = psutil.Process().children()
    for _ in LocalEngine(4).work(task_for(TroubledModel(), tmp_path / "out"), shards[:1]):
        assert psutil.Process().children() == before


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_travels_as_it_is(error: Exception) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


UNAVAILABLE = CallError(grpc.StatusCode.UNAVAILABLE, "no server", "", {"a": "b"})


@pytest.mark.parametrize(
    "model",
    [TroubledModel(unopened=UNAVAILABLE), TroubledModel(trouble="a6", then=partial(fail, UNAVAILABLE))],
    ids=["at the beginning", "in the middle"],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_is_heard_from_wherever_it_was_raised(
    model: TroubledModel, processes: int, shards: list[Shard], tmp_path: Path
) -> None:
    with pytest.raises(CallError, match="UNAVAILABLE: no server\n  a: b"):
        list(LocalEngine(processes).work(task_for(model, tmp_path / "out"), shards))


class OddError(Exception):
    """As of some who keep files: it can be pickled, and not be read back."""

    def __init__(self, what: str, *, where: str) -> None:
        super().__init__(f"{what} at {where}")


def fail_oddly() -> None:
    raise OddError("no answer", where="the store")


def test_an_error_that_cannot_travel_is_heard_by_its_text(shards: list[Shard], tmp_path: Path) -> None:
    model = TroubledModel(trouble="a6", then=fail_oddly)
    with pytest.raises(BatchError, match="OddError: no answer at the store"):
        list(LocalEngine(2).work(task_for(model, tmp_path / "out"), shards))


def test_a_process_that_was_killed_is_said_and_what_is_done_stays_done(shards: list[Shard], tmp_path: Path) -> None:
    task = task_for(TroubledModel(trouble="a19", only_once=tmp_path / "once"), tmp_path / "out")
    reported: list[ShardReport] = []
    with pytest.raises(WorkerDiedError, match="run it again with fewer --workers"):
        reported.extend(LocalEngine(2).work(task, shards))
    done = parts_in(tmp_path / "out")
    assert {part_name(report.number) for report in reported} <= set(done)
    assert part_name(SHARDS - 1) not in done
    left = [shard for shard in shards if part_name(shard.number) not in done]
    assert sorted(report.number for report in LocalEngine(2).work(task, left)) == [shard.number for shard in left]
    assert pq.read_table(tmp_path / "out").column("customer_id").to_pylist() == [f"a{row}" for row in range(ROWS)]


def test_who_stops_asking_does_not_wait_for_what_is_under_way(shards: list[Shard], tmp_path: Path) -> None:
    model = TroubledModel(trouble="a19", then=sleep_for_ever)
    reports = LocalEngine(2).work(task_for(model, tmp_path / "out"), shards)
    assert next(reports).number < SHARDS - 1
    # The last shard sleeps for ever.
    reports.close()  # type: ignore[attr-defined]  # a generator
    assert part_name(SHARDS - 1) not in parts_in(tmp_path / "out")


RUN = """
import sys
from functools import partial
from pathlib import Path
from services.batch.engines import LocalEngine
from services.batch.shards import Task
from tests.fakes.troubled import TroubledModel, sleep_for_ever
from tests.unit.services.batch.test_engines import task_for
from services.batch.source import Shard, Slice

if __name__ == "__main__":
    file, output = sys.argv[1], Path(sys.argv[2])
    shards = [Shard(number, (Slice(file, file, 0, number * 4, 4, number * 4),)) for number in range(5)]
    # One process sleeps over the second shard, the other one works on the rest.
    for report in LocalEngine(2).work(task_for(TroubledModel(trouble="a4", then=sleep_for_ever), output), shards):
        pass
"""


@pytest.fixture
def run(shards: list[Shard], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, which never ends."""
    (tmp_path / "run.py").write_text(RUN)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "run.py", shards[0].slices[0].file, tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'protos'}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_parent_that_is_killed_leaves_no_process(run: subprocess.Popen[str], tmp_path: Path) -> None:
    eventually(lambda: len(parts_in(tmp_path / "out")) == SHARDS - 1, "all shards but one")
    workers = workers_of(run)
    assert len(workers) == 2
    run.kill()
    run.wait()
    psutil.wait_procs(workers, timeout=30)
    assert not any(worker.is_running() for worker in workers)


@pytest.mark.parametrize("early", [True, False])
def test_an_interrupt_of_the_whole_group_ends_it_with_one_voice(
    early: bool, run: subprocess.Popen[str], tmp_path: Path
) -> None:
    if early:
        eventually(lambda: bool(workers_of(run)), "a process that has hardly begun")
    else:
        eventually(lambda: len(parts_in(tmp_path / "out")) == SHARDS - 1, "all shards but one")
    workers = workers_of(run)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert said.count("KeyboardInterrupt") == 1
    assert said.count("Traceback") == 1
    assert run.returncode == -signal.SIGINT
    psutil.wait_procs(workers, timeout=30)
    assert not any(worker.is_running() for worker in workers)
