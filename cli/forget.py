"""forget: takes customers out of what the suite has stored, and out of all that it reads from now on."""

from __future__ import annotations

import json
import os
from collections import Counter
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
from services.batch.customers import ID
from services.batch.job import MANIFEST_FILE, SCORES_FILE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator


def forget(options: argparse.Namespace) -> int:
    """The list comes first: whatever fails after it, nobody on it is read again."""
    project = load_project(options.project)
    customers = _read_ids(options.file)
    added = remember_to_forget(project.privacy.forgotten, customers)
    out.print(
        f"named: {len(customers):,}, of whom {added:,} are new on {project.privacy.forgotten}; no snapshot and no "
        "training reads them from now on"
    )
    erased = [(str(path), f"{erase(path, customers):,}") for path in stored_tables([project.folder, *options.places])]
    if erased:
        table("taken out of", ("table", "rows"), erased)
    else:
        out.print("no scores and no features are stored beside the project; give other places with --in")
    out.print(
        "Models hold no ids, but learnt from these customers among others: train and promote anew where that matters. "
        "Your own tables, backups and copies elsewhere are yours to clear."
    )
    return 0


def stored_tables(places: Iterable[Path]) -> Iterator[Path]:
    """The tables of scores and features that this suite wrote in these folders; hidden folders are passed over.

    Raises:
        CommandError: a place is no folder.
    """
    found = set()
    for place in places:
        if not place.is_dir():
            raise CommandError(f"{place} is no folder; give --in a folder with scores or features")
        for folder, inner, files in os.walk(place.resolve()):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            found |= {path for name in files if _is_ours(path := Path(folder, name))}
    yield from sorted(found)


def erase(path: Path, customers: frozenset[str]) -> int:
    """Takes the customers' rows out of a table, which changes whole, and returns how many there were."""
    gone = pa.array(sorted(customers), pa.string())
    draft = path.with_name(f".{path.name}")
    statuses: Counter[str] = Counter()
    removed = 0
    source = pq.ParquetFile(path)
    try:
        with pq.ParquetWriter(draft, source.schema_arrow) as writer:
            for batch in source.iter_batches():
                kept = batch.filter(pc.invert(pc.is_in(batch.column(ID).cast(pa.string()), gone)))
                removed += batch.num_rows - kept.num_rows
                writer.write_batch(kept)
                if path.name == SCORES_FILE:
                    statuses.update(kept.column("status").to_pylist())
        if removed:
            draft.replace(path)
            _correct_manifest(path, statuses)
    finally:
        draft.unlink(missing_ok=True)
    return removed


def _read_ids(file: Path) -> frozenset[str]:
    customers = frozenset(ids_of(file.read_text(encoding="utf-8"))) - {ID}
    if not customers:
        raise CommandError(f"{file} names nobody; write one customer id a line")
    return customers


def _is_ours(path: Path) -> bool:
    """Only what is surely of the suite's own making: the business's tables may lie in the same folder."""
    if path.suffix != ".parquet" or path.name.startswith("."):
        return False
    return stamp_of(path) is not None or (path.name == SCORES_FILE and _manifest(path) is not None)


def _manifest(scores: Path) -> dict[str, object] | None:
    try:
        content = json.loads((scores.parent / MANIFEST_FILE).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and {"model", "rows", "statuses"} <= content.keys() else None


def _correct_manifest(path: Path, statuses: Counter[str]) -> None:
    manifest = _manifest(path)
    if path.name == SCORES_FILE and manifest is not None:
        corrected = {**manifest, "rows": statuses.total(), "statuses": dict(statuses)}
        (path.parent / MANIFEST_FILE).write_text(json.dumps(corrected, indent=1) + "\n")
