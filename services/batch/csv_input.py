"""A CSV file of customers as record batches. What cannot be read stops nobody: its row says why."""

from __future__ import annotations

import csv
import secrets
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from services.batch.answers import CONSENT
from services.batch.errors import InputError
from services.batch.rejected import ID
from services.batch.shards import FAULT, ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from pyarrow import NativeFile

    from model_registry.schema import FeatureKind
    from services.batch.place import Place

GZIP_SUFFIX = ".gz"
CSV_SUFFIXES = (".csv", f".csv{GZIP_SUFFIX}")

SEPARATORS = ",;\t"

BLOCK_BYTES = 2**22
"""Text that is read at a time. No line is longer."""

MISSING = (
    *("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "NULL", "Null", "null", "None", "<NA>"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
"""What stands where there is no number, in files of pandas, R, Excel and databases."""

NUMBER = r"^[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[iI]nf(inity)?)$"

YES, NO = ("true", "1", "yes"), ("false", "0", "no")

FIRST_DATA_LINE = 2
"""Arrow counts lines from 1, the header among them, and no empty ones."""


def is_csv(place: Place) -> bool:
    return place.name.lower().endswith(CSV_SUFFIXES)


def csv_batches(place: Place, kinds: Mapping[str, FeatureKind]) -> Iterator[pa.RecordBatch]:
    """The customers of a file: ids and categories as text, numbers as float64, consent as booleans; other columns not.

    Where commas do not separate the columns, numbers may have decimal commas. `ROW` is a line's place among the
    lines with data, and `FAULT` says what of it cannot be read, null where all can.

    Args:
        place: the file, in UTF-8, perhaps with gzip.
        kinds: the features to read, those of them that are there.

    Yields:
        Batches of one schema, at least one of them; a line without its values stands after the batch it belongs to.

    Raises:
        InputError: the file is empty, is no CSV in UTF-8, or its first line does not name the columns.
        OSError: it cannot be read.
    """
    names, separator = _header(place)
    wanted = [name for name in (ID, CONSENT, *kinds) if name in names]
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise InputError(f"columns stand more than once in {place}: {', '.join(twice)}; rename one of each")
    lines = _Lines()
    made = _Making(wanted, kinds, comma=separator != ",")
    end = secrets.token_hex()
    with _explained(place), _opened(place) as file:
        text = pa.PythonFile(_Ended(file, f"\n{separator.join([end] * len(names))}\n"), "r")
        ended = False
        with _reader(text, wanted, separator, lines) as reader:
            for texts in reader:
                ended = texts.num_rows > 0 and texts.column(ID)[-1].as_py() == end
                rows, lost = lines.of_next(texts.num_rows - ended)
                yield made.batch(texts.slice(0, len(rows)), rows)
                yield made.malformed(lost)
        if not ended:
            raise InputError(
                f"{place} opens a quote that nothing closes, in row {max(lines.read - 1, 0):,} or after it, the first "
                "row being 0; close it, or leave it out"
            )
        yield made.malformed(lines.left())


class _Ended:
    """A file with a line more at its end. A quote that is left open swallows it, and all before it, without a word."""

    closed = False

    def __init__(self, file: NativeFile, line: str) -> None:
        self._file = file
        self._left = line.encode()

    def read(self, size: int) -> bytes:
        read = bytes(self._file.read(size))
        if not read:
            read, self._left = self._left, b""
        return read


class _Lines:
    """Which lines the rows come from, as those are passed over that do not have as many values as the header."""

    def __init__(self) -> None:
        self.read = 0
        """How many so far."""
        self._malformed: deque[tuple[int, str]] = deque()

    def pass_over(self, line: pacsv.InvalidRow) -> str:
        found, expected = line.actual_columns, line.expected_columns
        reason = f"the line has {found} value{'s' if found != 1 else ''}, and the header {expected}"
        self._malformed.append((line.number - FIRST_DATA_LINE, reason))
        return "skip"

    def of_next(self, count: int) -> tuple[NDArray[np.int64], list[tuple[int, str]]]:
        """The places of the next `count` rows, and those that were passed over among them, with their reasons."""
        start, lost = self.read, list[tuple[int, str]]()
        self.read += count
        # Arrow reads ahead: lines further on may be known already.
        while self._malformed and self._malformed[0][0] < self.read:
            lost.append(self._malformed.popleft())
            self.read += 1
        return np.setdiff1d(np.arange(start, self.read), [row for row, _ in lost], assume_unique=True), lost

    def left(self) -> list[tuple[int, str]]:
        """Those that were passed over after the last row."""
        return list(self._malformed)


class _Making:
    """Makes columns of texts."""

    def __init__(self, names: Sequence[str], kinds: Mapping[str, FeatureKind], *, comma: bool) -> None:
        self._numeric = {name for name in names if kinds.get(name) == "numeric"}
        self._comma = comma
        types = {name: pa.bool_() if name == CONSENT else pa.string() for name in names}
        types |= dict.fromkeys(self._numeric, pa.float64())
        self._schema = pa.schema({**types, ROW: pa.int64(), FAULT: pa.string()})

    def batch(self, texts: pa.RecordBatch, rows: NDArray[np.int64]) -> pa.RecordBatch:
        columns, faults = dict[str, pa.Array](), pa.nulls(texts.num_rows, pa.string())
        for name, column in zip(texts.schema.names, texts.columns, strict=True):
            columns[name], unread, reason = self._column(name, column)
            if pc.any(unread).as_py():
                told = pc.binary_join_element_wise(faults, f"{name} {reason}", "; ", null_handling="skip")
                faults = pc.if_else(unread, told, faults)
        return pa.record_batch({**columns, ROW: rows, FAULT: faults}, self._schema)

    def malformed(self, lines: Sequence[tuple[int, str]]) -> pa.RecordBatch:
        told = {ROW: [row for row, _ in lines], FAULT: [reason for _, reason in lines]}
        empty = {name: [None] * len(lines) for name in self._schema.names}
        return pa.record_batch({**empty, **told}, self._schema)

    def _column(self, name: str, texts: pa.Array) -> tuple[pa.Array, pa.Array, str]:
        """The values, where there is something else (which is null then), and what to say of it."""
        if name in self._numeric:
            return *_numbers(texts, comma=self._comma), "is no number"
        if name == CONSENT:
            return *_booleans(texts), "is neither true nor false"
        return texts, pa.scalar(value=False), ""


def _numbers(texts: pa.Array, *, comma: bool) -> tuple[pa.Array, pa.Array]:
    given = pc.if_else(pc.equal(texts, ""), None, texts)
    if comma:
        given = pc.replace_substring(given, ",", ".")
    try:
        numbers = given.cast(pa.float64())
    except pa.ArrowInvalid:
        return _numbers_among_others(given)
    return pc.if_else(pc.is_nan(numbers), None, numbers), pa.scalar(value=False)


def _numbers_among_others(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Several times slower."""
    given = pc.ascii_trim_whitespace(texts)
    given = pc.if_else(pc.is_in(given, pa.array(MISSING)), None, given)
    # Truth is a number, as in Parquet files.
    for word, digit in (("true", "1"), ("false", "0")):
        given = pc.if_else(pc.equal(pc.ascii_lower(given), word), digit, given)
    readable = pc.match_substring_regex(given, NUMBER)
    return pc.if_else(readable, given, None).cast(pa.float64()), pc.fill_null(pc.invert(readable), fill_value=False)


def _booleans(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    trimmed = pc.ascii_trim_whitespace(texts)
    words = pc.ascii_lower(trimmed)
    yes, no = pc.is_in(words, pa.array(YES)), pc.is_in(words, pa.array(NO))
    known = pc.or_(yes, no)
    return pc.if_else(known, yes, None), pc.invert(pc.or_(known, pc.is_in(trimmed, pa.array(MISSING))))


def _header(place: Place) -> tuple[list[str], str]:
    """The names of the columns, and what separates them."""
    with _explained(place), _opened(place) as file:
        lines = bytes(file.read(BLOCK_BYTES)).lstrip(b"\r\n").splitlines()
    if len(lines) <= 1:
        raise InputError(f"{place} holds no customers; it needs a line that names the columns, and then a line each")
    try:
        line = lines[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(_not_utf8(place)) from error
    for separator in SEPARATORS:
        names = next(csv.reader([line], delimiter=separator))
        if ID in names:
            return names, separator
    # Without a header the line would be a customer's, and is not to be shown.
    raise InputError(
        f"{place} has no column {ID}: its first line must name the columns, with commas, semicolons or tabs between"
    )


@contextmanager
def _opened(place: Place) -> Iterator[NativeFile]:
    with place.open() as file:
        if not place.name.lower().endswith(GZIP_SUFFIX):
            yield file
            return
        with pa.CompressedInputStream(file, "gzip") as text:
            yield text


def _reader(text: NativeFile, names: Sequence[str], separator: str, lines: _Lines) -> pacsv.CSVStreamingReader:
    """A file has no types, and guessed ones mislead: ids lose their zeros, whole numbers refuse the first fraction."""
    kept: dict[str, Any] = {"column_types": dict.fromkeys(names, pa.string()), "include_columns": list(names)}
    return pacsv.open_csv(
        text,
        # Only a single thread knows the numbers of lines.
        pacsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        pacsv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=lines.pass_over),
        pacsv.ConvertOptions(**kept, strings_can_be_null=False),
    )


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise InputError(_not_utf8(place)) from error
        raise InputError(f"{place} cannot be read as CSV: {error}; see that every quote is closed") from error
    except OSError as error:
        # Arrow's word for bytes that make no sense. What a file system says has a number, or a class of its own.
        if type(error) is OSError and error.errno is None:
            raise InputError(f"{place} is damaged: {error}; write it anew") from error
        raise


def _not_utf8(place: Place) -> str:
    return f"{place} is not in UTF-8; save it as CSV in UTF-8"
