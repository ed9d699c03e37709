"""The metrics of several workers: files that they count in, and the page that adds them up.

A worker counts in the files of its place (0, 1 …) and not of its process, so whoever takes the place of one that died
counts on where that one stopped: no counter falls, and a thousand restarts leave as many files as there are workers.

This module makes no metric, and so may be imported before `count_in` says where those of this process are kept.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.values import MultiProcessValue

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from prometheus_client.registry import Collector

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder of the files; prometheus_client reads it when it is imported."""

FILES = ("counter", "histogram", "gauge_livesum", "gauge_livemax", "gauge_livemin")
"""Those of one worker, by the kinds of metric that it has."""

RESERVED_BYTES = 2**18
"""Of each file, ahead of its use: they are mapped into memory, and a worker that writes where a full disk has no room
for it dies."""

_log = logging.getLogger(__name__)


def count_in(place: int) -> None:
    """Has this process count in the files of that place. To be called before any metric is made."""
    values.ValueClass = MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]  # the library leaves it untyped


class WorkerMetrics:
    """A folder for the files of all workers, as long as the context lasts."""

    def __init__(self, own: Iterable[Collector]) -> None:
        """`own` are metrics of this process that stand on the page beside those of the workers."""
        self.folder = Path(tempfile.mkdtemp(prefix="regulars-metrics-"))
        # What deletes old temporary files (systemd-tmpfiles) leaves a locked folder alone.
        self._lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self.registry = CollectorRegistry()
        MultiProcessCollector(self.registry, str(self.folder))  # type: ignore[no-untyped-call]  # the library leaves it untyped
        for collector in own:
            self.registry.register(collector)
        self._is_gone = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self, place: int) -> None:
        """Makes the files that a worker of that place will count in, where they are not there.

        Raises:
            OSError: the disk is full, or the folder is not to be had. Its `strerror` names it, and says what to do.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            for kind in FILES:
                with (self.folder / f"{kind}_{place}.db").open("ab") as file:
                    file.write(bytes(max(0, RESERVED_BYTES - file.tell())))
        except OSError as error:
            remedy = f"make {len(FILES) * RESERVED_BYTES / 2**20:.2f} MB of room, or name another folder in TMPDIR"
            what = f"a worker's metrics cannot be kept in {self.folder} ({error.strerror}); {remedy}"
            raise OSError(error.errno, what) from error

    def forget_gauges(self, place: int) -> None:
        """Takes back what the worker of that place said of itself: it is dead. What it counted stays."""
        mark_process_dead(place, str(self.folder))  # type: ignore[no-untyped-call]  # the library leaves it untyped

    def look(self) -> None:
        """Says so, once, where somebody has deleted the folder; never raises."""
        if not self._is_gone and not self.folder.exists():
            self._is_gone = True
            remedy = "restart the server, and keep what cleans temporary files away from there"
            fields = {"folder": str(self.folder), "remedy": remedy}
            _log.error("the workers' metrics were deleted, the page lacks them", extra={"fields": fields})
