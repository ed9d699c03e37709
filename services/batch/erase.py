"""Takes customers out of scores that stand written, as if they had never been asked about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.batch import intake, rejected
from services.batch.intake import INPUT_FOLDER
from services.batch.place import Place
from services.batch.rejected import ID
from services.batch.run import locked, recount
from services.batch.shards import FOOTER, REJECTED_FOLDER, footer_in, write_rejected, write_scores

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_NOTHING = rejected.SCHEMA.empty_table()


def scores_folder_of(file: Path) -> Path | None:
    """The folder of scores that a Parquet file is in: as a part, as what was set aside, or as what was made to be
    scored; None for any other file.
    """
    stamps = _stamps(Place(str(file)))
    if FOOTER in stamps:
        return file.parent
    inner = {REJECTED_FOLDER: rejected.STAMP, INPUT_FOLDER: intake.STAMP}
    return file.parent.parent if inner.get(file.parent.name) in stamps else None


def erase(folder: Place, customers: Collection[str]) -> int:
    """Takes the rows of `customers` out of a folder of scores, and returns how many there were.

    What the parts and the manifest count is corrected, and a run that stopped there goes on. Only what was made of its
    input is deleted if they are in it: it is made anew, of what then still holds them or does not. How the scores had
    drifted stays as it was found.

    Raises:
        BusyError: a run writes into the folder.
        OSError: a file cannot be read or written.
    """
    gone = pa.array(sorted(customers), pa.string())
    aside, made = folder / REJECTED_FOLDER, folder / INPUT_FOLDER
    with locked(folder):
        for place in (folder, aside, made):
            place.remove_drafts()
        names = {name for place in (folder, aside) for name in _tables_in(place)}
        scored = sum(_erase(folder / name, aside / name, gone) for name in sorted(names))
        recount(folder)
        return scored + sum(_delete(made / name, gone) for name in _tables_in(made))


def _delete(made: Place, gone: pa.Array) -> int:
    """Deletes the table if any of these customers are in it; returns how many are."""
    if intake.STAMP not in _stamps(made):
        return 0
    with made.open() as file:
        ids = pq.read_table(file, columns=[ID]).column(ID).cast(pa.string())
    found: int = pc.sum(pc.is_in(ids, gone), min_count=0).as_py()
    if found:
        made.remove()
    return found


def _erase(part: Place, aside: Place, gone: pa.Array) -> int:
    """Out of a part and out of what was set aside from it, either of which may be missing."""
    footer = footer_in(part)
    before = [_read(part) if footer else _NOTHING, _read(aside) if rejected.STAMP in _stamps(aside) else _NOTHING]
    scores, left = (table.filter(pc.invert(pc.is_in(table.column(ID), gone))) for table in before)
    removed: int = sum(table.num_rows for table in before) - scores.num_rows - left.num_rows
    if removed:
        # In this order: until those who were set aside are gone too, another attempt finds them and counts again.
        if footer is not None:
            report = footer.tally.count(footer.report.number, scores, left)
            write_scores(part, scores, replace(footer, report=report))
        write_rejected(aside, left)
    return removed


def _tables_in(folder: Place) -> list[str]:
    return [name for name in folder.names() if name.endswith(".parquet")]


def _stamps(file: Place) -> Collection[bytes]:
    """The metadata of a Parquet file; none of any other, and of none."""
    try:
        with file.open() as opened:
            return (pq.read_schema(opened).metadata or {}).keys()
    except (OSError, pa.ArrowException):
        return ()


def _read(place: Place) -> pa.Table:
    with place.open() as file:
        return pq.read_table(file)
