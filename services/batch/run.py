"""A run: every customer of a source scored once, in parts that appear whole, by as many attempts as it takes.

What the run is stands in `_run.json` from its beginning: the input, the models, the columns. Another attempt in the
same folder goes on where the last one stopped, or says what has changed. `_manifest.json` appears when all is scored.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from services.batch.errors import BatchError, ChangedError
from services.batch.shards import REJECTED_FOLDER, ShardReport, Task, footer_in, part_name, report_in
from services.batch.summary import OutputDrift, drifts_of

if TYPE_CHECKING:
    from services.batch.engines import Engine
    from services.batch.place import Place
    from services.batch.source import Shard, Source

RUN_FILE = "_run.json"
MANIFEST_FILE = "_manifest.json"
LOCK_FILE = ".lock"
PART_PREFIX = "part-"

FORMAT = 1
"""Of the parts. A run that an earlier release began with another is not gone on with."""

Progress = Callable[[int, int], None]
"""Told the rows done and the rows in all."""


class BusyError(BatchError):
    """Somebody else writes into the folder."""


class TooManyRejectedError(BatchError):
    """More rows were set aside than the run may have; `summary` tells of all that was scored."""

    def __init__(self, message: str, summary: Summary) -> None:
        super().__init__(message)
        self.summary = summary


@dataclass(frozen=True)
class Identity:
    """What a run is: if any of it were another, so would be its output."""

    input: dict[str, Any]
    models: dict[str, dict[str, str]]
    carried: list[str]
    format: int = FORMAT

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Summary:
    """What a run came to; the counts are those of its `ShardReport`s, summed.

    `bins` are of the outputs that were counted in every part: a server of an earlier release does not tell how.
    `seconds` and `scored_now` are of this attempt: rows that an earlier one had scored were not scored again.
    """

    identity: Identity
    rows: int
    rejected: int
    statuses: dict[str, dict[str, int]]
    bands: dict[str, dict[str, int]]
    bins: dict[str, list[int]]
    parts: int
    drifts: tuple[OutputDrift, ...]
    scored_now: int
    seconds: float

    @property
    def rejected_share(self) -> float:
        return self.rejected / self.rows if self.rows else 0.0


def run(
    task: Task,
    source: Source,
    identity: Identity,
    engine: Engine,
    *,
    progress: Progress,
    restart: bool = False,
    most_rejected: float = 1.0,
) -> Summary:
    """Scores what is not scored yet.

    Args:
        task: what is asked of each shard.
        source: the customers.
        identity: of this run; `task.run` is its digest.
        engine: who works on the shards.
        progress: told of every shard.
        restart: begin anew where the folder holds another run.
        most_rejected: the share of rows that may be set aside.

    Raises:
        BusyError: somebody else writes into the folder.
        ChangedError: the folder holds a run of other customers, models or columns.
        TooManyRejectedError: too many rows were set aside; all others are scored.
        BatchError: and whatever else the work on a shard raises.
    """
    started = time.perf_counter()
    output = task.output
    (output / REJECTED_FOLDER).make_folder()
    with locked(output):
        _begin(output, identity, restart=restart)
        reports = _done(output, identity, source.shards)
        before = rows = sum(report.rows for report in reports.values())
        left = [shard for shard in source.shards if shard.number not in reports]
        progress(rows, source.rows)
        if left:
            # Whoever waits for the manifest is not to read a folder in which a part is missing.
            (output / MANIFEST_FILE).remove()
        for report in engine.work(task, left) if left else ():
            reports[report.number] = report
            rows += report.rows
            progress(rows, source.rows)
        silent = [shard.number for shard in source.shards if shard.number not in reports]
        if silent:
            raise BatchError(f"nothing was heard of {len(silent):,} parts, {part_name(silent[0])} first; run it again")
        counts = _counts(reports.values())
        summary = Summary(
            identity,
            **counts,
            drifts=drifts_of(task.models, counts["bins"]),
            scored_now=rows - before,
            seconds=time.perf_counter() - started,
        )
        if summary.rejected_share > most_rejected:
            raise TooManyRejectedError(_too_many(summary, most_rejected, output), summary)
        if not is_complete(output):
            _finish(output, identity, {**counts, "drifts": [one.to_json() for one in summary.drifts]})
    return summary


def is_complete(output: Place) -> bool:
    return (output / MANIFEST_FILE).exists()


def input_of(output: Place) -> dict[str, Any]:
    """The input of the run that began in a folder, as its `Identity` tells it; nothing where none did."""
    read: dict[str, Any] = (_read_json(output / RUN_FILE) or {}).get("input", {})
    return read


def recount(output: Place) -> None:
    """Corrects what a complete run says of its parts after rows were taken out of them; the folder must be `locked`."""
    said = _read_json(output / MANIFEST_FILE)
    if said is not None:
        footers = (footer_in(output / name) for name in _parts_in(output))
        corrected = {**said, **_counts(footer.report for footer in footers if footer is not None)}
        if corrected != said:
            _write_json(output / MANIFEST_FILE, corrected)


@contextmanager
def locked(output: Place) -> Iterator[None]:
    """Against a second writer in the same folder. On a remote file system there is nothing to lock by.

    Raises:
        BusyError: somebody else writes into the folder.
    """
    if not output.is_local:
        yield
        return
    descriptor = os.open((output / LOCK_FILE).path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"another command writes into {output}; wait for it, or give another folder") from error
        yield
    finally:
        os.close(descriptor)


def _begin(output: Place, identity: Identity, *, restart: bool) -> None:
    wanted, written = asdict(identity), _read_json(output / RUN_FILE)
    if restart and written is not None:
        _clear(output)
        written = None
    if written is None:
        if _parts_in(output):
            raise ChangedError(f"{output} holds parts of no run that is known here; give another --output")
        _write_json(output / RUN_FILE, wanted)
    elif differences := list(_differences(written, wanted)):
        raise ChangedError(
            f"{output} holds another run: {'; '.join(differences)}. Give another --output, or --restart to replace it"
        )
    for folder in (output, output / REJECTED_FOLDER):
        folder.remove_drafts()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before.get("format") != now["format"]:
        # What else it says may mean something else.
        yield "another release began it"
        return
    models, wanted = before.get("models", {}), now["models"]
    for name in sorted(models.keys() | wanted.keys()):
        then, today = (one.get(name, {}).get("version", "nothing") for one in (models, wanted))
        if models.get(name) != wanted.get(name):
            yield f"{name} was version {then}, is {today}" if then != today else f"{name} is another version {then}"
    if before.get("input") != now["input"]:
        yield "its input was another"
    if before.get("carried") != now["carried"]:
        yield "it wrote other features beside the scores"


def _clear(output: Place) -> None:
    """The state stays until that of the next run takes its place: as long as it does, the rest is ours to delete."""
    (output / MANIFEST_FILE).remove()
    for folder in (output, output / REJECTED_FOLDER):
        for name in _parts_in(folder):
            (folder / name).remove()


def _parts_in(folder: Place) -> list[str]:
    return [name for name in folder.names() if name.startswith(PART_PREFIX)]


def _done(output: Place, identity: Identity, shards: Iterable[Shard]) -> dict[int, ShardReport]:
    """The reports of the shards whose parts are written, by their numbers."""
    parts = {part_name(shard.number): shard.number for shard in shards}
    found = _parts_in(output)
    strange = [name for name in found if name not in parts]
    if strange:
        raise ChangedError(f"{output} holds {strange[0]}, which is no part of this run; take it away")
    reports = {parts[name]: report_in(output / name, identity.digest) for name in found}
    return {number: report for number, report in reports.items() if report is not None and report.number == number}


def _counts(reports: Iterable[ShardReport]) -> dict[str, Any]:
    """What `Summary` and the manifest say of the parts, whatever the order in which they came."""
    ordered = sorted(reports, key=lambda report: report.number)
    everywhere = [name for name in ordered[0].bins if all(name in report.bins for report in ordered)]
    return {
        "rows": sum(report.rows for report in ordered),
        "rejected": sum(report.rejected for report in ordered),
        "statuses": _summed(report.statuses for report in ordered),
        "bands": _summed(report.bands for report in ordered),
        "bins": {name: np.sum([report.bins[name] for report in ordered], axis=0).tolist() for name in everywhere},
        "parts": len(ordered),
    }


def _summed(counts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    total: dict[str, Counter[str]] = {}
    for one in counts:
        for name, counted in one.items():
            total.setdefault(name, Counter()).update(counted)
    return {name: dict(sorted(counted.items())) for name, counted in total.items()}


def _too_many(summary: Summary, most: float, output: Place) -> str:
    return (
        f"{summary.rejected:,} of {summary.rows:,} rows ({summary.rejected_share:.2%}) could not be scored, and at "
        f"most {most:.2%} may not; their reasons stand in {output / REJECTED_FOLDER}. Mend them and run again with "
        "--restart, or allow more with --max-rejected; what is scored is not scored again"
    )


def _finish(output: Place, identity: Identity, counts: Mapping[str, Any]) -> None:
    """Says that the run is complete. What it says is all of the run but the time, which is of the attempt."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    _write_json(output / MANIFEST_FILE, {**asdict(identity), **counts, "finished": finished})


def _read_json(place: Place) -> dict[str, Any] | None:
    content = place.read()
    if content is None:
        return None
    try:
        read = json.loads(content)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise BatchError(f"{place} is damaged; give another --output, or delete the folder")
    return read


def _write_json(place: Place, said: Mapping[str, Any]) -> None:
    place.write(json.dumps(said, indent=1).encode() + b"\n")
