"""The customers to score: Parquet files, cut into shards that are read, scored and written one at a time."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.parquet as pq

from services.batch.errors import InputError
from services.batch.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyarrow import NativeFile

SHARD_ROWS = 100_000
"""About a second of a core, and some tens of megabytes with all columns."""

READ_ROWS = 20_000
"""Rows that are decoded at a time."""

BUFFER_BYTES = 2**20

HASHED_BYTES = 2**22
HASHING_THREADS = 2


@dataclass(frozen=True)
class Slice:
    """`rows` rows of a row group of a file, from `start` on. `first_row` is the first one's place in the file.

    `origin` is the file as the user named it, which `file` may have been made of.
    """

    file: str
    origin: str
    group: int
    start: int
    rows: int
    first_row: int


@dataclass(frozen=True)
class Shard:
    """What is read, scored and written at once."""

    number: int
    slices: tuple[Slice, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.slices)


@dataclass(frozen=True)
class Found:
    """A file that the user named, and the Parquet file to read in its place: the same one, or what intake made of it.

    `digest` is the SHA-256 of the former, where somebody knows it already.
    """

    origin: Place
    parquet: Place
    digest: str | None = None


@dataclass(frozen=True)
class Source:
    """Parquet files of customers, all with the columns of `schema`, which are text where a file codes texts otherwise.

    `files` are those that the user named, and `digest` is the SHA-256 over theirs, in order.
    """

    files: tuple[str, ...]
    schema: pa.Schema
    shards: tuple[Shard, ...] = field(repr=False)
    digest: str

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)


def read_source(files: Sequence[Found]) -> Source:
    """Looks through files and plans their shards.

    Raises:
        InputError: a file is no Parquet, or its columns are not those of the first.
        OSError: a file cannot be read.
    """
    schemas, groups = zip(*(_looked_through(file) for file in files), strict=True)
    for file, schema in zip(files[1:], schemas[1:], strict=True):
        _require_same(files[0].origin, schemas[0], file.origin, schema)
    shards = tuple(_shards(piece for of_a_file in groups for piece in of_a_file))
    if not shards:
        raise InputError("the input holds no customers")
    return Source(tuple(str(file.origin) for file in files), schemas[0], shards, _digest(files))


class ShardReader:
    """Reads the columns `names` of shards, as tables of the types of the source's schema.

    A shard that follows on the one before, in one row group, is decoded from there: a row group can only be decoded
    from its beginning, and one of a million rows holds ten shards.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._open: _RowGroup | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._close()

    def read(self, shard: Shard) -> pa.Table:
        """The shard's rows; fewer where a file has lost some since it was looked through.

        Raises:
            InputError: a file is damaged.
            OSError: a file cannot be read.
        """
        return pa.concat_tables([self._read(part) for part in shard.slices])

    def _read(self, part: Slice) -> pa.Table:
        with _explained(Place(part.file)):
            if self._open is None or not self._open.comes_to(part):
                self._close()
                self._open = _RowGroup(part, self._names)
            return self._open.read(part)

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def read_shard(shard: Shard, names: Sequence[str]) -> pa.Table:
    """A single shard, as `ShardReader` reads it."""
    with ShardReader(names) as reader:
        return reader.read(shard)


@contextmanager
def open_parquet(place: Place) -> Iterator[pq.ParquetFile]:
    """Opens a file to be read in the block.

    Raises:
        InputError: it is no Parquet, or damaged.
        OSError: it cannot be read.
    """
    with _explained(place), place.open() as opened, _parquet(opened) as parquet:
        yield parquet


def is_id(column: pa.DataType) -> bool:
    """Whether a column of this type can hold ids: text or whole numbers."""
    kind = kind_of(column)
    return bool(pa.types.is_string(kind) or pa.types.is_integer(kind))


def kind_of(column: pa.DataType) -> pa.DataType:
    """A column's type, which is text in whatever way a file keeps texts."""
    kind = column.value_type if pa.types.is_dictionary(column) else column
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text else kind


class _RowGroup:
    """A row group that is decoded bit by bit."""

    def __init__(self, part: Slice, names: list[str]) -> None:
        self._at = part.file, part.group
        self._names = names
        with ExitStack() as opening:
            opened = opening.enter_context(Place(part.file).open())
            parquet = opening.enter_context(_parquet(opened))
            self._schema = parquet.schema_arrow
            self._batches = parquet.iter_batches(READ_ROWS, [part.group], names, use_threads=False)
            self._opened = opening.pop_all()
        self._row = 0
        """The next one."""
        self._rest: pa.RecordBatch | None = None
        """What of a batch is decoded and was not asked for yet."""

    def comes_to(self, part: Slice) -> bool:
        """Whether it has not gone past the first row of `part`."""
        return self._at == (part.file, part.group) and self._row <= part.start

    def read(self, part: Slice) -> pa.Table:
        batches = list(self._up_to(part.start, part.start + part.rows))
        schema = pa.schema([self._schema.field(name) for name in self._names])
        columns = [[batch.column(name) for batch in batches] for name in self._names]
        found = [pa.chunked_array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        return pa.table([column.cast(kind_of(column.type)) for column in found], self._names)

    def close(self) -> None:
        self._opened.close()

    def _up_to(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        while self._row < stop:
            batch = self._rest if self._rest is not None else next(self._batches, None)
            if batch is None:
                return
            first, last = (min(max(row - self._row, 0), batch.num_rows) for row in (start, stop))
            self._row += last
            self._rest = batch.slice(last) if last < batch.num_rows else None
            if first < last:
                yield batch.slice(first, last - first)


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise InputError(f"{place} cannot be read as Parquet: {error}; write it anew") from error
    except OSError as error:
        # Arrow's word for bytes that make no sense. What a file system says has a number, or a class of its own.
        if type(error) is OSError and error.errno is None:
            raise InputError(f"{place} is damaged: {error}; write it anew") from error
        raise


def _parquet(opened: NativeFile) -> pq.ParquetFile:
    # Whole columns of a row group of any size are not to be held in memory.
    return pq.ParquetFile(opened, pre_buffer=False, buffer_size=BUFFER_BYTES)


def _looked_through(file: Found) -> tuple[pa.Schema, list[Slice]]:
    """A file's columns, and its row groups."""
    with open_parquet(file.parquet) as parquet:
        metadata, schema = parquet.metadata, parquet.schema_arrow
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    starts = [0, *accumulate(counts)]
    slices = [
        Slice(str(file.parquet), str(file.origin), group, 0, rows, starts[group]) for group, rows in enumerate(counts)
    ]
    return pa.schema([(column.name, kind_of(column.type)) for column in schema]), slices


def _require_same(first: Place, expected: pa.Schema, file: Place, found: pa.Schema) -> None:
    """Whatever the order of the columns."""
    if set(found) != set(expected):
        odd = sorted({column.name for column in set(found) ^ set(expected)})
        raise InputError(
            f"{file} has other columns than {first}, or of other types: {', '.join(odd)}; score them in runs of "
            "their own, or write them alike"
        )


def _shards(pieces: Iterable[Slice]) -> Iterator[Shard]:
    """Shards of `SHARD_ROWS`, the last one smaller, whatever the row groups are."""
    number, gathered, room = 0, list[Slice](), SHARD_ROWS
    for piece in pieces:
        start = 0
        while start < piece.rows:
            rows = min(room, piece.rows - start)
            gathered.append(replace(piece, start=start, rows=rows, first_row=piece.first_row + start))
            start, room = start + rows, room - rows
            if not room:
                yield Shard(number, tuple(gathered))
                number, gathered, room = number + 1, [], SHARD_ROWS
    if gathered:
        yield Shard(number, tuple(gathered))


def _digest(files: Sequence[Found]) -> str:
    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        digests = list(threads.map(lambda file: file.digest or digest_of(file.origin), files))
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def digest_of(place: Place) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with place.open() as file:
        while chunk := file.read_buffer(HASHED_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
