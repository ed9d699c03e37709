"""Where shards are worked on: in the processes of this machine. What is done to a shard is the same everywhere."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from services.batch.errors import BatchError
from services.batch.shards import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from services.batch.shards import ShardReport, Task
    from services.batch.source import Shard


STRETCH_SHARDS = 5
"""Shards in a row, which share what is decoded of a row group: half of one of a million rows."""


class WorkerDiedError(BatchError):
    """A process ended in the middle of its work."""


class Engine(Protocol):
    """Works on shards, in any order."""

    def work(self, task: Task, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        """The reports of the shards, soon after their parts are written; raises what `Worker` raises.

        Whoever stops asking for reports, or is interrupted, ends the work: parts appear whole or not at all.
        """


def stretches(shards: Sequence[Shard], workers: int) -> Iterator[Sequence[Shard]]:
    """Shards in a row that a worker takes at once; fewer towards the end, so that all workers come to it together."""
    start = 0
    while start < len(shards):
        size = max(1, min(STRETCH_SHARDS, (len(shards) - start) // (2 * workers)))
        yield shards[start : start + size]
        start += size


@contextmanager
def errors_that_travel() -> Iterator[None]:
    """Around what is done in another process: an error that could not be put together again here becomes its text.

    Ours can. Some of those who keep files hold open connections, and would only be heard of as a process that died.

    Raises:
        BatchError: in the place of such an error.
    """
    try:
        yield
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - what was written just now
        except Exception:  # noqa: BLE001 - whatever it lacks
            raise BatchError(f"{type(error).__name__}: {error}") from error
        raise


class LocalEngine:
    """Processes of this machine: by default one for each core that this one may use."""

    def __init__(self, processes: int | None = None) -> None:
        self._processes = processes or len(os.sched_getaffinity(0))

    def work(self, task: Task, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        """As `Engine` says; a single shard is worked on in this process, which needs no other for it.

        Raises:
            WorkerDiedError: a process was killed.
        """
        processes = min(self._processes, len(shards))
        if processes == 1:
            with Worker(task) as worker:
                yield from map(worker.work, shards)
            return
        spawning = multiprocessing.get_context("spawn")
        ours, theirs = spawning.Pipe()
        pool = ProcessPoolExecutor(processes, spawning, _begin, (task, theirs))
        try:
            # Started by a thread that no interrupt reaches, they see none either: this process decides what it means.
            with ThreadPoolExecutor(1, "", signal.pthread_sigmask, (signal.SIG_BLOCK, {signal.SIGINT})) as starter:
                working = starter.submit(
                    lambda: [pool.submit(_work, taken) for taken in stretches(shards, processes)]
                ).result()
            for done in as_completed(working):
                yield from done.result()
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                "a process of the run was killed, for want of memory perhaps; run it again with fewer --workers"
            ) from error
        finally:
            ours.close()
            pool.shutdown(cancel_futures=True)
            theirs.close()


_task: Task | None = None
_worker: Worker | None = None


def _begin(task: Task, parent: Connection) -> None:
    """In each process, once. What fails here reaches nobody: the models are loaded with the first shard."""
    global _task  # noqa: PLW0603 - what a process pool offers to keep something between two shards
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # Processes are the parallelism.
    pa.set_cpu_count(1)
    _task = task


def _work(shards: Sequence[Shard]) -> list[ShardReport]:
    global _worker  # noqa: PLW0603 - as above
    with errors_that_travel():
        if _worker is None:
            assert _task is not None
            _worker = Worker(_task).__enter__()
        return [_worker.work(shard) for shard in shards]


def _end_with(parent: Connection) -> None:
    """Ends this process when the other end of its pipe closes: the run is over, was given up, or was killed."""
    wait([parent])
    os._exit(1)
