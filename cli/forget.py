"""forget: takes customers out of what the suite has stored, and out of all that it reads from now on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cli.console import out, table
from cli.errors import CommandError
from features.forgotten import ids_of, remember_to_forget
from features.project import load_project
from features.stamp import stamp_of
from services.batch.erase import erase, scores_folder_of
from services.batch.exported import erase_from_list, is_exported
from services.batch.place import Place
from services.batch.rejected import ID

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

SUFFIXES = frozenset({".parquet", ".csv"})


def forget(options: argparse.Namespace) -> int:
    """The list comes first: whatever fails after it, nobody on it is read again."""
    project = load_project(options.project)
    customers = _read_ids(options.file)
    added = remember_to_forget(project.privacy.forgotten, customers)
    out.print(
        f"named: {len(customers):,}, of whom {added:,} are new on {project.privacy.forgotten}; no snapshot and no "
        "training reads them from now on"
    )
    stored = sorted(set(_stored_in([project.folder, *options.places])))
    erased = [(str(path), f"{_erase(path, customers):,}") for path in stored]
    if erased:
        table("taken out of", ("place", "rows"), erased)
    else:
        out.print("no scores, lists and features are stored beside the project; give other places with --in")
    out.print(
        "Models hold no ids, but learnt from these customers among others: train and promote anew where that matters. "
        "Your own tables, lists that were loaded elsewhere, backups and other copies are yours to clear."
    )
    return 0


def _stored_in(places: Iterable[Path]) -> Iterator[Path]:
    """What this suite wrote in these places: tables of features, folders of scores, lists that were exported.

    Hidden folders are passed over. Only what is surely of the suite's own making: the business's tables may lie in the
    same folder.

    Raises:
        CommandError: a place is no folder.
    """
    for place in places:
        if not place.is_dir():
            raise CommandError(f"{place} is no folder; give --in a folder with scores or features")
        for folder, inner, files in os.walk(place.resolve()):
            inner[:] = [name for name in inner if not name.startswith(".")]
            for path in (Path(folder, name) for name in files if not name.startswith(".")):
                if path.suffix in SUFFIXES and (found := _stored_with(path)):
                    yield found


def _stored_with(path: Path) -> Path | None:
    """The table of features or the list that a file is, or the folder of scores that it is in."""
    if is_exported(Place(str(path))) or stamp_of(path) is not None:
        return path
    return scores_folder_of(path)


def _erase(stored: Path, customers: frozenset[str]) -> int:
    """Takes the customers' rows out, and returns how many there were."""
    place = Place(str(stored))
    if stored.is_dir():
        return erase(place, customers)
    return erase_from_list(place, customers) if is_exported(place) else _erase_features(stored, customers)


def _erase_features(path: Path, customers: frozenset[str]) -> int:
    """The table changes whole, and not at all if nobody of them is in it."""
    gone = pa.array(sorted(customers), pa.string())
    draft = path.with_name(f".{path.name}")
    removed = 0
    source = pq.ParquetFile(path)
    try:
        with pq.ParquetWriter(draft, source.schema_arrow) as writer:
            for batch in source.iter_batches():
                kept = batch.filter(pc.invert(pc.is_in(batch.column(ID).cast(pa.string()), gone)))
                removed += batch.num_rows - kept.num_rows
                writer.write_batch(kept)
        if removed:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return removed


def _read_ids(file: Path) -> frozenset[str]:
    customers = frozenset(ids_of(file.read_text(encoding="utf-8"))) - {ID}
    if not customers:
        raise CommandError(f"{file} names nobody; write one customer id a line")
    return customers
