"""Where shards are worked on: the executors of a Spark session."""

from __future__ import annotations

import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Self

import pyarrow as pa
from pyspark.accumulators import AddingAccumulatorParam
from pyspark.sql import SparkSession

from services.batch.engines import errors_that_travel, stretches
from services.batch.errors import BatchError
from services.batch.shards import Worker, part_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from pyspark import Accumulator

    from services.batch.shards import ShardReport, Task
    from services.batch.source import Shard

APP_NAME = "regulars score"

LOOK_SECONDS = 0.2
"""How often the driver looks for reports."""


class SparkFailedError(BatchError):
    """Spark ended the work; no shard did."""


class UnseenOutputError(BatchError):
    """An executor wrote its part where the driver does not see it."""


class SparkEngine:
    """The executors of a session, each of whose tasks works on a few shards in a row.

    Spark spreads shards over machines and takes them up again when a machine is lost; the shards read and write their
    files themselves, as they do everywhere. So a run has the same parts, to the byte, and goes on where it stopped,
    whichever engine began it: Spark's own readers cut files by their bytes, and its writers name files anew each time.

    The executors need this suite installed, and must reach the input and the output by the names that the driver knows
    them by. The models travel with the tasks.
    """

    def __init__(self, session: SparkSession) -> None:
        self._session = session

    @classmethod
    def on_this_session(cls) -> Self:
        """The one that 'spark-submit' or a notebook began; else one of this machine, unless a cluster is configured."""
        # Spark's own choice is whichever Python comes first on the path.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        # Its bar would be drawn over ours.
        builder = SparkSession.builder.appName(APP_NAME).config("spark.ui.showConsoleProgress", "false")
        return cls(builder.getOrCreate())

    def work(self, task: Task, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        """As `Engine` says; what a shard raises is raised here as it was, and ends the work of the others.

        Raises:
            SparkFailedError: Spark could not do it.
            UnseenOutputError: the output is a folder of the executors, which this machine does not see.
        """
        context, group = self._session.sparkContext, str(uuid.uuid4())
        # Rows would come when all is done; asked for one partition at a time, they would come from one task at a time.
        # What is added here comes with the end of each task.
        told: Accumulator[list[ShardReport | Exception]] = context.accumulator([], AddingAccumulatorParam([]))

        def run() -> None:
            context.setJobGroup(group, f"{APP_NAME}: {task.output}", interruptOnCancel=True)
            taken = list(stretches(shards, context.defaultParallelism))
            # A partition a stretch.
            places = self._session.range(0, len(taken), 1, len(taken))
            places.mapInArrow(_worker(task, taken, told), "id long").collect()

        # In a thread of its own also for the sake of interrupts, which a call of Java turns into errors of Java's.
        with ThreadPoolExecutor(1) as thread:
            job = thread.submit(run)
            try:
                for report in _reports(job, told):
                    _require_seen(task, report)
                    yield report
            finally:
                # More than once: what has not begun cannot be cancelled.
                while not job.done():
                    context.cancelJobGroup(group)
                    wait([job], LOOK_SECONDS)


def _worker(
    task: Task, taken: Sequence[Sequence[Shard]], told: Accumulator[list[ShardReport | Exception]]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What a Spark task does: works on the stretches at the places that its rows name, and tells how that went."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # Tasks are the parallelism.
        pa.set_cpu_count(1)
        try:
            with errors_that_travel(), Worker(task) as worker:
                for batch in batches:
                    for place in batch.column("id").to_pylist():
                        told.add([worker.work(shard) for shard in taken[place]])
                    yield batch
        except Exception as error:  # noqa: BLE001 - to Spark it would be a trace of Java's stack
            told.add([error])

    return work


def _reports(job: Future[None], told: Accumulator[list[ShardReport | Exception]]) -> Iterator[ShardReport]:
    """Each shard's, once: of a task that was begun a second time there may be two.

    Raises what a shard raised, or SparkFailedError.
    """
    taken, seen = 0, set[int]()
    ended = False
    while not ended:
        # Asked for before the reports, lest some come in between.
        ended = job.done()
        for outcome in told.value[taken:]:
            taken += 1
            if isinstance(outcome, Exception):
                raise outcome
            if outcome.number not in seen:
                seen.add(outcome.number)
                yield outcome
        wait([job], LOOK_SECONDS)
    try:
        job.result()
    except Exception as error:
        raise SparkFailedError(f"Spark could not do it: {_in_short(error)}") from error


def _require_seen(task: Task, report: ShardReport) -> None:
    part = task.output / part_name(report.number)
    if part.is_local and not part.exists():
        raise UnseenOutputError(
            f"an executor wrote {part}, which this machine does not see; give an --output that all of them reach, "
            "such as s3://bucket/folder"
        )


def _in_short(error: Exception) -> str:
    """One line of an error of Spark's: of Java's the first, of Python's the last, for their stacks lie in between."""
    java = getattr(error, "java_exception", None)
    if java is not None:
        return str(java.getMessage()).splitlines()[0]
    return [type(error).__name__, *str(error).rstrip().splitlines()][-1]
