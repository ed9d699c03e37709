"""Every line of a CSV file becomes a row: what it holds, or why it cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
import math
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.batch import csv_input as module
from services.batch.csv_input import csv_batches, is_csv
from services.batch.errors import InputError
from services.batch.place import Place
from services.batch.shards import FAULT, ROW
from tests.support.bundles import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KINDS = {feature.name: feature.kind for feature in SCHEMA.features}
HEADER = "customer_id,recency_days,channel"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "base.csv"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "base.csv"


def table_of(file: Path, content: str | bytes, block: int = 2**16) -> pa.Table:
    """What is read of a file, by row."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with patch.object(module, "BLOCK_BYTES", block):
        return pa.Table.from_batches(csv_batches(Place(str(file)), KINDS)).sort_by(ROW)


def column(file: Path, name: str, *values: str, separator: str = ",") -> list[Any]:
    lines = [separator.join((str(row), value)) for row, value in enumerate(values)]
    table = table_of(file, "\n".join([f"customer_id{separator}{name}", *lines]))
    return [
        fault or value
        for value, fault in zip(table.column(name).to_pylist(), table.column(FAULT).to_pylist(), strict=True)
    ]


def faults(file: Path, content: str, block: int = 2**16) -> dict[int, str]:
    table = table_of(file, content, block)
    assert table.column(ROW).to_pylist() == list(range(table.num_rows))
    return {row: fault for row, fault in enumerate(table.column(FAULT).to_pylist()) if fault}


def test_columns_are_of_the_types_that_models_take(file: Path) -> None:
    table = table_of(file, "note,channel,customer_id,consent,frequency\nx,7,007,yes,1\n,,8,,\n")
    assert table.schema.names == ["customer_id", "consent", "frequency", "channel", ROW, FAULT]
    assert [str(kind) for kind in table.schema.types] == ["string", "bool", "double", "string", "int64", "string"]
    assert [list(row.values()) for row in table.to_pylist()] == [
        ["007", True, 1.0, "7", 0, None],
        ["8", None, None, "", 1, None],
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        ("-1.5", -1.5),
        ("+2", 2.0),
        (" 3 ", 3.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E-2", 0.01),
        ("", None),
        ("NA", None),
        ("nan", None),
        ("None", None),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("1e400", math.inf),
        ("TRUE", 1.0),
        ("false", 0.0),
        ("many", "recency_days is no number"),
        ("0x10", "recency_days is no number"),
        ("1_000", "recency_days is no number"),
        ("1 000", "recency_days is no number"),
        ('"1,5"', "recency_days is no number"),
        ("1.2.3", "recency_days is no number"),
        ("-", "recency_days is no number"),
        ("\N{FULLWIDTH DIGIT ONE}", "recency_days is no number"),
    ],
)
@pytest.mark.parametrize("neighbour", ["7", "word"])
def test_numbers(file: Path, text: str, number: float | str | None, neighbour: str) -> None:
    """Whether or not another of the batch has to be looked at more closely."""
    assert column(file, "recency_days", text, neighbour)[0] == number


@pytest.mark.parametrize("separator", [";", "\t"])
def test_where_commas_separate_no_columns_they_are_decimal(file: Path, separator: str) -> None:
    values = ("1,5", "1.5", "-,5", "1.234,5", "")
    expected = [1.5, 1.5, -0.5, "recency_days is no number", None]
    assert column(file, "recency_days", *values, separator=separator) == expected


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        *((word, True) for word in ("true", "True", "TRUE", "1", "yes", "Yes", " yes ")),
        *((word, False) for word in ("false", "FALSE", "0", "no", "NO")),
        *((word, None) for word in ("", "NULL", "NA")),
        *((word, "consent is neither true nor false") for word in ("maybe", "2", "yes and no", "-")),
    ],
)
def test_consent(file: Path, text: str, agrees: bool | str | None) -> None:
    assert column(file, "consent", text) == [agrees]


def test_categories_and_ids_are_taken_as_they_are(file: Path) -> None:
    assert column(file, "channel", "NA", " web", "007", "") == ["NA", " web", "007", ""]
    assert table_of(file, f"{HEADER}\n 007,,\nNA,,\n,,\n").column(0).to_pylist() == [" 007", "NA", ""]


def test_all_that_is_wrong_with_a_row_is_told_and_no_value(file: Path) -> None:
    content = "customer_id,consent,recency_days,frequency,channel\n1,yes,1,1,web\nsecret,secret,secret,secret,secret\n"
    told = faults(file, content)
    assert told == {
        1: "consent is neither true nor false; recency_days is no number; frequency is no number",
    }


@pytest.mark.parametrize("block", [64, 2**16])
def test_lines_of_another_length_are_rows_without_an_id(file: Path, block: int) -> None:
    good = "1,2,web"
    content = f'{HEADER}\na\n{good}\n{good}\n\na,b\n{good}\na,b,c,d\n"x\ny",2,web\n{good}\na\na,b\n'
    assert faults(file, content, block) == {
        0: "the line has 1 value, and the header 3",
        3: "the line has 2 values, and the header 3",
        5: "the line has 4 values, and the header 3",
        8: "the line has 1 value, and the header 3",
        9: "the line has 2 values, and the header 3",
    }
    ids = table_of(file, content, block).column("customer_id").to_pylist()
    assert ids == [None, "1", "1", None, "1", None, "x\ny", "1", None, None]


ROWS = st.lists(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=5), min_size=2, max_size=4),
    min_size=1,
    max_size=12,
)


@given(rows=ROWS, separator=st.sampled_from(",;\t"), block=st.integers(200, 400))
def test_every_line_is_a_row_in_its_place(
    scratch: Path, rows: Sequence[Sequence[str]], separator: str, block: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([["customer_id", "recency_days", "channel"], *rows])
    table = table_of(scratch, text.getvalue(), block).to_pylist()
    assert [row[ROW] for row in table] == list(range(len(rows)))
    for given_row, row in zip(rows, table, strict=True):
        if len(given_row) == 3:
            assert [row["customer_id"], row["channel"]] == [given_row[0], given_row[2]]
            assert row[FAULT] in {None, "recency_days is no number"}
        else:
            assert row["customer_id"] is None
            assert row[FAULT] == f"the line has {len(given_row)} values, and the header 3"


def test_a_value_may_not_be_cut_by_a_block(file: Path) -> None:
    content = f"{HEADER}\n" + "".join(f'{row},{row},"web\n,{row}"\n' for row in range(500))
    table = table_of(file, content, 256)
    assert table.column("channel").to_pylist() == [f"web\n,{row}" for row in range(500)]
    assert table.column("recency_days").to_pylist() == list(range(500))


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{HEADER}\r\n1,2,web\r\n",
        f"\n\n{HEADER}\n\n1,2,web",
        '"customer_id","recency_days","channel"\n"1","2","web"\n',
        "customer_id;recency_days;channel\n1;2;web\n",
        "customer_id\trecency_days\tchannel\n1\t2\tweb\n",
        '"a, note",customer_id,recency_days,channel\n";",1,2,web\n',
    ],
    ids=["byte order mark", "empty lines", "quotes", "semicolons", "tabs", "a separator in a name"],
)
def test_forms_of_the_same(file: Path, content: str) -> None:
    row = {"customer_id": "1", "recency_days": 2.0, "channel": "web", ROW: 0, FAULT: None}
    assert table_of(file, content).to_pylist() == [row]


def test_a_compressed_file_is_read_alike(tmp_path: Path) -> None:
    parts = (f"{HEADER}\n", "1,2,web\n", "2,2,web\n")
    table = table_of(tmp_path / "base.CSV.gz", b"".join(gzip.compress(part.encode()) for part in parts))
    assert table.column("customer_id").to_pylist() == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no customers; it needs a line that names the columns"),
        (b"\n\n", "holds no customers"),
        (HEADER.encode(), "holds no customers"),
        (b"7,1,web\n8,1,web\n", "has no column customer_id: its first line must name the columns"),
        (f"{HEADER}\n1,2,web\n".encode("utf-16"), "is not in UTF-8; save it as CSV in UTF-8"),
        (f"{HEADER}\n1,2,caf\N{LATIN SMALL LETTER E WITH ACUTE}\n".encode("latin-1"), "is not in UTF-8"),
        (b"customer_id,recency_days,recency_days\n1,2,3\n", "stand more than once in .*: recency_days; rename one"),
        (b'customer_id,recency_days\n1,1\n2,"2\n3,3\n4,4\n', "opens a quote that nothing closes, in row 1 or after"),
        (b'customer_id,recency_days,x\n1,"1\n2,2\n3,3\n', "opens a quote that nothing closes, in row 0 or after"),
        (
            b'customer_id,recency_days\n1,1\n2,"2\n' + b"3,3\n" * 50_000,
            "cannot be read as CSV: .* every quote is closed",
        ),
    ],
)
def test_what_is_no_csv_is_refused(file: Path, content: bytes, complaint: str) -> None:
    with pytest.raises(InputError, match=rf"base\.csv.*{complaint}|{complaint}") as caught:
        table_of(file, content)
    assert "base.csv" in str(caught.value)
    assert "7" not in str(caught.value).replace(str(file), "")


@pytest.mark.parametrize(
    "content",
    [gzip.compress(f"{HEADER}\n1,2,web\n".encode() * 99)[:-20], b"customer_id\n1\n"],
    ids=["cut", "not compressed"],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"base\.csv\.gz is damaged"):
        table_of(tmp_path / "base.csv.gz", content)


def test_columns_in_another_encoding_are_no_matter_where_nobody_reads_them(file: Path) -> None:
    content = b"customer_id,recency_days,name\n1,2,Andr\xe9\n"
    assert table_of(file, content).column("recency_days").to_pylist() == [2.0]


@pytest.mark.parametrize(
    ("name", "found"), [("a.csv", True), ("A.CSV", True), ("a.csv.gz", True), ("a.gz", False), ("a.parquet", False)]
)
def test_csv_is_told_by_its_name(name: str, found: bool) -> None:
    assert is_csv(Place(f"folder/{name}")) is found
