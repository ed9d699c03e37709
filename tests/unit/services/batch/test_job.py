from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from model_registry.frame import FrameError
from model_registry.servable import Servable
from services.batch.customers import BATCH_ROWS, InputError, read_batches
from services.batch.engines import score_locally
from services.batch.job import MANIFEST_FILE, SCORES_FILE, ScoresChangedError, run
from tests.support.bundles import SCHEMA, make_bundle, probability

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CUSTOMERS = pa.table(
    {
        "customer_id": ["a", "b", "c"],
        "recency_days": pa.array([10.0, 100.0, 20.0], pa.float32()),
        "frequency": pa.array([1.0, 1.0, None], pa.float32()),
        "channel": ["web", "web", None],
        "not a feature": [1, 2, 3],
    }
)


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return Servable(make_bundle(tmp_path_factory.mktemp("bundles") / "bundle"))


def score(servable: Servable, source: Path, output: Path) -> dict[str, Any]:
    """The manifest of a run."""
    _, batches = read_batches(source, servable.schema)
    run("churn", batches, lambda rows: score_locally(servable, rows), {"7"}, output, lambda done: None)
    manifest: dict[str, Any] = json.loads((output / MANIFEST_FILE).read_text())
    return manifest


@pytest.mark.parametrize("form", ["parquet", "csv", "folder"])
def test_every_form_of_input_gives_the_scores(servable: Servable, tmp_path: Path, form: str) -> None:
    source = tmp_path / ("customers" if form == "folder" else f"customers.{form}")
    if form == "csv":
        pacsv.write_csv(CUSTOMERS, source)
    elif form == "folder":
        source.mkdir()
        pq.write_table(CUSTOMERS.slice(0, 1), source / "1.parquet")
        pq.write_table(CUSTOMERS.slice(1), source / "2.parquet")
    else:
        pq.write_table(CUSTOMERS, source)
    manifest = score(servable, source, tmp_path / "scores")
    assert manifest["rows"] == 3
    assert manifest["versions"] == ["7"]
    assert manifest["statuses"] == {"OK": 2, "INACTIVE": 1}
    scores = pq.read_table(tmp_path / "scores" / SCORES_FILE)
    assert scores.column("customer_id").to_pylist() == ["a", "b", "c"]
    assert scores.column("status").to_pylist() == ["OK", "INACTIVE", "OK"]
    found = scores.column("churn_probability").to_pylist()
    assert np.float32(found[0]) == pytest.approx(probability(10, 1, "web"), abs=1e-6)
    assert found[1] is None
    assert np.float32(found[2]) == pytest.approx(probability(20, float("nan"), ""), abs=1e-6)
    assert scores.column("churn_probability_band").to_pylist() == ["HIGH", None, "HIGH"]


def test_a_base_of_many_batches_comes_back_in_order(servable: Servable, tmp_path: Path) -> None:
    count = 2 * BATCH_ROWS + 1
    ids = [f"c{row}" for row in range(count)]
    rows = pa.table({"customer_id": ids, "recency_days": [1.0] * count, "frequency": [1.0] * count, "channel": ids})
    pq.write_table(rows, tmp_path / "many.parquet")
    assert score(servable, tmp_path / "many.parquet", tmp_path / "scores")["rows"] == count
    assert pq.read_table(tmp_path / "scores" / SCORES_FILE).column("customer_id").to_pylist() == ids


def test_a_run_that_fails_leaves_the_scores_before_it(servable: Servable, tmp_path: Path) -> None:
    pq.write_table(CUSTOMERS, tmp_path / "customers.parquet")
    score(servable, tmp_path / "customers.parquet", tmp_path / "scores")
    before = {path.name: path.read_bytes() for path in (tmp_path / "scores").iterdir()}

    def fail_after_one(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from score_locally(servable, batches)
        raise FrameError("broken")

    with pytest.raises(FrameError):
        run("churn", CUSTOMERS.to_batches(), fail_after_one, set(), tmp_path / "scores", lambda done: None)
    assert {path.name: path.read_bytes() for path in (tmp_path / "scores").iterdir()} == before


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ({"id": ["a"]}, "has no column customer_id"),
        ({"customer_id": ["a", "a"]}, "stand more than once"),
        ({"customer_id": ["a", None]}, "row 1 has no customer_id"),
        ({"customer_id": ["a", ""]}, "row 1 has no customer_id"),
        ({"customer_id": [1.5]}, "must be text or whole numbers"),
    ],
)
def test_an_input_that_names_no_customers_is_refused(
    tmp_path: Path, rows: dict[str, list[Any]], complaint: str
) -> None:
    pq.write_table(pa.table(rows), tmp_path / "customers.parquet")
    with pytest.raises(InputError, match=complaint):
        read_batches(tmp_path / "customers.parquet", SCHEMA)


def test_an_input_that_is_not_there_or_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_batches(tmp_path / "nothing.parquet", SCHEMA)
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_batches(tmp_path / "text.parquet", SCHEMA)


def test_an_input_without_rows_is_refused(servable: Servable, tmp_path: Path) -> None:
    pq.write_table(CUSTOMERS.slice(0, 0), tmp_path / "customers.parquet")
    with pytest.raises(InputError, match="holds no customers"):
        score(servable, tmp_path / "customers.parquet", tmp_path / "scores")


def test_ids_that_are_numbers_leave_as_text_and_texts_keep_their_zeros(servable: Servable, tmp_path: Path) -> None:
    numbers = CUSTOMERS.set_column(0, "customer_id", pa.array([7, 8, 9]))
    pq.write_table(numbers, tmp_path / "numbers.parquet")
    score(servable, tmp_path / "numbers.parquet", tmp_path / "scores")
    assert pq.read_table(tmp_path / "scores" / SCORES_FILE).column("customer_id").to_pylist() == ["7", "8", "9"]
    pacsv.write_csv(CUSTOMERS.set_column(0, "customer_id", pa.array(["007", "08", "9"])), tmp_path / "zeros.csv")
    score(servable, tmp_path / "zeros.csv", tmp_path / "scores")
    assert pq.read_table(tmp_path / "scores" / SCORES_FILE).column("customer_id").to_pylist() == ["007", "08", "9"]


def test_ids_are_looked_through_across_batches(tmp_path: Path) -> None:
    ids = [f"c{row}" for row in range(BATCH_ROWS + 5)]
    ids[-1] = ids[0]
    pq.write_table(pa.table({"customer_id": ids}), tmp_path / "customers.parquet")
    with pytest.raises(InputError, match="1 customers stand more than once, for example customer_id 'c0' 2 times"):
        read_batches(tmp_path / "customers.parquet", SCHEMA)


def test_ids_that_are_coded_by_a_dictionary_are_texts(servable: Servable, tmp_path: Path) -> None:
    coded = CUSTOMERS.set_column(0, "customer_id", CUSTOMERS.column("customer_id").dictionary_encode())
    pq.write_table(coded, tmp_path / "customers.parquet")
    score(servable, tmp_path / "customers.parquet", tmp_path / "scores")
    assert pq.read_table(tmp_path / "scores" / SCORES_FILE).column("customer_id").to_pylist() == ["a", "b", "c"]


CSV_BLOCK = 1 << 20
"""What Arrow reads of a CSV file before it guesses the types of its columns."""


def csv_of(path: Path, first: str, last: str) -> Path:
    """Rows like `first` for more than a block, and then one like `last`; `{}` is the row's number."""
    lines = ["customer_id,recency_days,frequency,channel,note"]
    lines += [first.format(row) for row in range(CSV_BLOCK // len(first) + 1)]
    path.write_text("\n".join([*lines, last.format("last")]) + "\n")
    return path


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("{},10,1,web,", "{},20,1.5,shop,", probability(20, 1.5, "shop")),
        ("{},10,,web,", "{},20,1.5,shop,", probability(20, 1.5, "shop")),
        ("{},10,1,7,", "{},20,1.5,shop,", probability(20, 1.5, "shop")),
        ("{},10,1,,", "{},20,1.5,web,", probability(20, 1.5, "web")),
        ("{},10,1,web,7", "{},20,1.5,shop,a word", probability(20, 1.5, "shop")),
    ],
    ids=["whole numbers, then a fraction", "no number", "digits, then a text", "no text", "a column nobody reads"],
)
def test_the_first_lines_of_a_csv_file_do_not_mislead(
    servable: Servable, tmp_path: Path, first: str, last: str, expected: np.float32
) -> None:
    source = csv_of(tmp_path / "customers.csv", first, last)
    score(servable, source, tmp_path / "scores")
    found = pq.read_table(tmp_path / "scores" / SCORES_FILE).column("churn_probability")[-1].as_py()
    assert np.float32(found) == pytest.approx(expected, abs=1e-6)


def test_a_word_among_numbers_is_refused_and_leaves_nothing(servable: Servable, tmp_path: Path) -> None:
    source = csv_of(tmp_path / "customers.csv", "{},10,1,web,", "{},20,many,shop,")
    with pytest.raises(InputError, match=r"customers\.csv cannot be read as CSV.*many"):
        score(servable, source, tmp_path / "scores")
    assert list((tmp_path / "scores").iterdir()) == []


@pytest.mark.parametrize("text", ["", "customer_id,recency_days\n1,2,3\n"])
def test_a_csv_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "customers.csv").write_text(text)
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_batches(tmp_path / "customers.csv", SCHEMA)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no column customer_id; it has none"):
        read_batches(tmp_path, SCHEMA)


def test_features_that_the_input_lacks_are_named(servable: Servable, tmp_path: Path) -> None:
    pq.write_table(CUSTOMERS.drop_columns(["recency_days", "channel"]), tmp_path / "customers.parquet")
    with pytest.raises(FrameError, match="recency_days, channel"):
        score(servable, tmp_path / "customers.parquet", tmp_path / "scores")


def test_progress_is_told_after_every_batch(servable: Servable, tmp_path: Path) -> None:
    told: list[int] = []
    ids = [f"c{row}" for row in range(BATCH_ROWS + 1)]
    rows = pa.table({"customer_id": ids, "recency_days": [1.0] * len(ids), "frequency": [1.0] * len(ids)})
    pq.write_table(rows.append_column("channel", pa.nulls(len(ids))), tmp_path / "customers.parquet")
    _, batches = read_batches(tmp_path / "customers.parquet", SCHEMA)
    run("churn", batches, lambda rows: score_locally(servable, rows), set(), tmp_path / "scores", told.append)
    assert told == [BATCH_ROWS, BATCH_ROWS + 1]


def test_scores_that_change_their_columns_on_the_way_leave_nothing(tmp_path: Path) -> None:
    def promoted(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch, category in zip(batches, ("purchase_probability[tea]", "purchase_probability[bread]"), strict=True):
            names = ["customer_id", "status", category]
            yield pa.RecordBatch.from_arrays([batch.column(0), pa.array(["OK"]), pa.array([0.5])], names=names)

    batches = [pa.RecordBatch.from_pydict({"customer_id": [name]}) for name in ("a", "b")]
    with pytest.raises(ScoresChangedError, match=r"another model .*\[bread\] after .*\[tea\]"):
        run("propensity", batches, promoted, {"1"}, tmp_path, lambda done: None)
    assert list(tmp_path.iterdir()) == []
