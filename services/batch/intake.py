"""What the user named, made ready to be scored: files found, CSV made Parquet, ids that stand more than once found.

What is made lies in a folder beside the scores until the run is finished, under names that tell what it was made of: a
run that goes on finds it there, and another run that tries the same folder changes nothing that this one reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from services.batch.answers import CONSENT, agreeing
from services.batch.csv_input import CSV_SUFFIXES, csv_batches, is_csv
from services.batch.errors import InputError
from services.batch.place import DRAFT_PREFIX, Place
from services.batch.rejected import ID
from services.batch.repeated import repeated_ids
from services.batch.run import input_of
from services.batch.shards import FAULT, ROW, ids_in, set_aside
from services.batch.source import SHARD_ROWS, Found, Shard, digest_of, read_shard, read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from model_registry.schema import Schema

INPUT_FOLDER = "_input"
"""Readers of Parquet folders pass over names that begin with an underscore."""

STAMP = b"regulars.input"
"""Tells what was made from files of others: customers can be taken out of it."""

PARQUET_SUFFIXES = (".parquet", ".pq")

CSV_FORMAT = 1
"""Of what CSV files become. What an earlier release made of them is not used."""

SHOWN = 5
"""Files that an error names."""


@dataclass(frozen=True)
class Intake:
    """Files to score, and a Parquet file of the ids that stand more than once, if any do."""

    files: tuple[Found, ...]
    repeated: Place | None


def take_in(inputs: Sequence[str], output: Place, schemas: Sequence[Schema]) -> Intake:
    """Finds the files that the user named, and looks through their ids.

    A Parquet file is used as it is. Of a CSV file a Parquet file is made beside the scores, unless an earlier attempt
    has done it; see `csv_batches` for what is in it. When the run is finished, `remove_made` deletes that again.

    Args:
        inputs: files, folders, patterns, URLs. What is hidden in a folder, and the scores, are passed over.
        output: the folder for the scores.
        schemas: of the models that are to score.

    Raises:
        InputError: nothing is found, or what is found is neither Parquet nor CSV, is damaged, or has no ids.
        BatchError: there is no room to count ids.
        OSError: a file cannot be read or written.
    """
    files = _found(inputs, output)
    return _looked_through([_readable(file, output / INPUT_FOLDER, schemas) for file in files], output)


def take_in_batches(name: str, batches: Iterable[pa.RecordBatch], output: Place) -> Intake:
    """The same for customers that come in batches of one schema; `name` says to people what they are.

    Raises:
        InputError: there are none, or they have no ids.
        BatchError: there is no room to count ids.
        OSError: a file cannot be written.
    """
    made, digest = _kept(batches, output / INPUT_FOLDER)
    return _looked_through([Found(Place(name), made, digest)], output)


def taken_before(name: str, output: Place) -> Intake | None:
    """The customers that the run which began in the folder of the scores took in under this name, if they still lie
    there: it goes on with them, whatever has become of where they came from.
    """
    begun = input_of(output)
    for made in (output / INPUT_FOLDER).names() if begun.get("files") == [name] else ():
        found = Found(Place(name), output / INPUT_FOLDER / made, made.removesuffix(".parquet"))
        if not made.startswith(DRAFT_PREFIX) and read_source([found]).digest == begun["digest"]:
            return _looked_through([found], output)
    return None


def remove_made(output: Place) -> None:
    """Deletes what was made for a run, to be called when it is finished."""
    (output / INPUT_FOLDER).remove_folder()


def read_customers(inputs: Sequence[str], schema: Schema) -> pa.Table:
    """All customers of the files that the user named, at once: ids as text, consent, the features that are there.

    Raises:
        InputError: as `take_in`; or consent is not true or false, or a row cannot be read, has no id, or another's.
        BatchError: there is no room to count ids.
        OSError: a file cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        taken = take_in(inputs, Place(folder), [schema])
        source = read_source(taken.files)
        wanted = (ID, CONSENT, *(feature.name for feature in schema.features), ROW, FAULT)
        agreeing(source.schema.empty_table())
        whole = Shard(0, tuple(part for shard in source.shards for part in shard.slices))
        customers = read_shard(whole, [name for name in wanted if name in source.schema.names])
        rejected = set_aside(whole, customers, ids_in(taken.repeated))
    if len(rejected.places):
        first = rejected.to_table().slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{len(rejected.places):,} of {customers.num_rows:,} rows cannot be used; the first is row "
            f"{first['row']:,} of {first['file']}, the first being 0: {first['reason']}; mend them"
        )
    kept = [name for name in customers.schema.names if name not in {ROW, FAULT}]
    return customers.select(kept).set_column(0, ID, rejected.ids)


def _found(inputs: Sequence[str], output: Place) -> list[Place]:
    """Each file once, in an order that does not depend on how it was named."""
    named = {(file.is_local, file.path): file for name in inputs for file in _expanded(Place(name), output)}
    files = [named[at] for at in sorted(named)]
    odd = [file for file in files if not (is_csv(file) or file.name.lower().endswith(PARQUET_SUFFIXES))]
    if odd:
        raise InputError(
            f"neither Parquet nor CSV by name: {_some(odd)}; a name ends in {', '.join(PARQUET_SUFFIXES)}, "
            f"{' or '.join(CSV_SUFFIXES)}, and a pattern such as 'folder/*.parquet' names some files of a folder"
        )
    if any(map(is_csv, files)) and not all(map(is_csv, files)):
        raise InputError("the input is Parquet and CSV, whose columns are not of the same types; score one at a time")
    return files


def _expanded(named: Place, output: Place) -> list[Place]:
    if named.is_folder():
        found = named.files()
    elif named.exists():
        return [named]
    elif named.is_pattern:
        found = [file for place in named.matching() for file in (place.files() if place.is_folder() else [place])]
    else:
        raise InputError(f"{named} does not exist; 'regulars features build' writes such a table")
    files = [file for file in found if not output.holds(file)]
    if not files:
        raise InputError(f"{named} holds no file to score; names that begin with a dot or an underscore do not count")
    return files


def _some(files: Sequence[Place]) -> str:
    more = f" and {len(files) - SHOWN:,} more" if len(files) > SHOWN else ""
    return f"{', '.join(map(str, files[:SHOWN]))}{more}"


def _readable(file: Place, folder: Place, schemas: Sequence[Schema]) -> Found:
    """A file, or what is made of it."""
    if not is_csv(file):
        return Found(file, file)
    kinds = {feature.name: feature.kind for schema in schemas for feature in schema.features}
    digest = digest_of(file)
    recipe = json.dumps([CSV_FORMAT, digest, sorted(kinds.items())])
    made = folder / f"{hashlib.sha256(recipe.encode()).hexdigest()}.parquet"
    if not made.exists():
        folder.make_folder()
        _write(csv_batches(file, kinds), made)
    return Found(file, made, digest)


def _looked_through(files: Sequence[Found], output: Place) -> Intake:
    found = (batch for batch in repeated_ids(files) if batch.num_rows)
    first = next(found, None)
    repeated = None if first is None else _kept(chain([first], found), output / INPUT_FOLDER)[0]
    return Intake(tuple(files), repeated)


def _kept(batches: Iterable[pa.RecordBatch], folder: Place) -> tuple[Place, str]:
    """Writes batches to a file that has its digest for a name; returns both."""
    folder.make_folder()
    draft = folder / f"{DRAFT_PREFIX}{os.getpid()}.parquet"
    _write(batches, draft)
    digest = digest_of(draft)
    made = folder / f"{digest}.parquet"
    draft.move_to(made)
    return made, digest


def _write(batches: Iterable[pa.RecordBatch], place: Place) -> None:
    """Writes a row group a shard, so that none is decoded for another's sake; the same rows give the same bytes."""
    tables = _in_shards(batches)
    first = next(tables, None)
    if first is None:
        raise InputError("the input holds no customers")
    # Of numbers and ids that hardly repeat, a dictionary costs time and saves nothing.
    texts = [column.name for column in first.schema if pa.types.is_string(column.type) and column.name != ID]
    schema = first.schema.with_metadata({STAMP: b"1"})
    with place.writing() as file, pq.ParquetWriter(file, schema, use_dictionary=texts) as writer:
        for table in chain([first], tables):
            writer.write_table(table, SHARD_ROWS)


def _in_shards(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of `SHARD_ROWS`, the last one smaller."""
    gathered, rows = list[pa.RecordBatch](), 0
    for batch in batches:
        gathered.append(batch)
        rows += batch.num_rows
        while rows >= SHARD_ROWS:
            table = pa.Table.from_batches(gathered)
            yield table.slice(0, SHARD_ROWS)
            gathered, rows = table.slice(SHARD_ROWS).to_batches(), rows - SHARD_ROWS
    if gathered:
        yield pa.Table.from_batches(gathered)
