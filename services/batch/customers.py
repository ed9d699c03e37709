"""Reads a file of customers in batches: each once, ids as text, who agrees, columns of the kinds a model takes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as pds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from model_registry.schema import Schema

ID = "customer_id"

CONSENT = "consent"
"""The column that says who agrees to be scored; 'regulars features build' writes it. Whoever is null there does not."""

BATCH_ROWS = 2000
"""Rows of a record batch: two slices of the graph, and well below the server's limit on rows and bytes."""


class InputError(Exception):
    """An input that cannot be scored. Says what to do."""


def read_batches(path: Path, schema: Schema) -> tuple[int, Iterator[pa.RecordBatch]]:
    """The number of customers of a Parquet or CSV file (or a folder of Parquet files), and they in batches.

    Only the id, as text, the consent and the columns of `schema` are read. The ids are looked through before the first
    batch.

    Raises:
        InputError: the file is missing, is neither, has customers without an id or with the id of another, or a consent
            that is not true or false; while the batches are read, a value that is not of its column's type.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; 'regulars features build' writes such a table")
    with _explained(path):
        source = _open(path, schema)
        if ID not in source.schema.names:
            raise InputError(f"{path} has no column {ID}; it has {', '.join(source.schema.names) or 'none'}")
        _require_text_or_whole_numbers(source.schema.field(ID).type)
        if CONSENT in source.schema.names:
            _require_booleans(source.schema.field(CONSENT).type)
        ids = source.to_table(columns=[ID]).column(ID).cast(pa.string())
        _require_each_once(ids)
        wanted = {ID, CONSENT, *(feature.name for feature in schema.features)}
        return len(ids), _batches(path, source, [name for name in source.schema.names if name in wanted])


def _open(path: Path, schema: Schema) -> pds.Dataset:
    if not _is_csv(path):
        return pds.dataset(path, format="parquet")
    # A CSV file has no types, and its first lines mislead: ids lose their zeros, texts of digits become numbers,
    # columns of whole numbers refuse the first fraction.
    guessed = pds.dataset(path, format="csv").schema
    types = {ID: pa.string(), **{feature.name: pa.string() for feature in schema.categorical}}
    for feature in schema.numeric:
        guess = guessed.field(feature.name).type if feature.name in guessed.names else None
        if guess is not None and (pa.types.is_integer(guess) or pa.types.is_null(guess)):
            types[feature.name] = pa.float64()
    if CONSENT in guessed.names and pa.types.is_null(guessed.field(CONSENT).type):
        types[CONSENT] = pa.bool_()
    options = pacsv.ConvertOptions(column_types=types)
    return pds.dataset(path, format=pds.CsvFileFormat(convert_options=options))


def _batches(path: Path, source: pds.Dataset, names: list[str]) -> Iterator[pa.RecordBatch]:
    with _explained(path):
        for batch in source.to_batches(columns=names, batch_size=BATCH_ROWS):
            yield batch.set_column(names.index(ID), ID, batch.column(ID).cast(pa.string()))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        sort = "CSV" if _is_csv(path) else "Parquet (the name of a CSV file ends in .csv)"
        raise InputError(f"{path} cannot be read as {sort}: {error}") from error


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _require_text_or_whole_numbers(kind: pa.DataType) -> None:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_integer(kind)):
        raise InputError(f"{ID} must be text or whole numbers, is {kind}")


def _require_booleans(kind: pa.DataType) -> None:
    # A column without a single value has no type.
    if not (pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise InputError(f"{CONSENT} must be true or false, is {kind}")


def _require_each_once(ids: pa.ChunkedArray) -> None:
    absent = pc.index(pc.equal(pc.fill_null(ids, ""), ""), value=True).as_py()
    if absent >= 0:
        raise InputError(f"row {absent} has no {ID} (the first row is 0); give every customer one")
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    example = repeated[0].as_py()
    raise InputError(
        f"{len(repeated):,} customers stand more than once, for example {ID} {example['values']!r} "
        f"{example['counts']} times; keep one row a customer"
    )
