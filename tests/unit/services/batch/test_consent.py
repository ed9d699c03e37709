"""Who has not agreed is answered in place, and no engine sees them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.servable import Servable
from services.batch.consent import score_consenting
from services.batch.customers import InputError, read_batches
from services.batch.engines import score_locally
from services.batch.job import MANIFEST_FILE, SCORES_FILE, run
from tests.support.bundles import SCHEMA, make_bundle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class ReadingAhead:
    """An engine that answers with the id, some batches after it was asked."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self.asked: list[list[str]] = []

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.asked.append(batch.column("customer_id").to_pylist())
            if len(self.asked) > self._ahead:
                yield self._answer(len(self.asked) - self._ahead - 1)
        for number in range(max(0, len(self.asked) - self._ahead), len(self.asked)):
            yield self._answer(number)

    def _answer(self, number: int) -> pa.RecordBatch:
        ids = self.asked[number]
        return pa.RecordBatch.from_pydict({"customer_id": ids, "status": ["OK"] * len(ids), "score": ids})


def batches_of(consents: list[list[bool | None]]) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_pydict(
            {
                "customer_id": [f"{number}.{row}" for row in range(len(batch))],
                "consent": pa.array(batch, pa.bool_()),
            }
        )
        for number, batch in enumerate(consents)
    ]


consents = st.lists(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=4), max_size=8)


@given(consents, st.integers(0, 3))
def test_everybody_is_answered_in_place_and_only_who_agrees_is_asked_about(
    consents: list[list[bool | None]], ahead: int
) -> None:
    engine = ReadingAhead(ahead)
    answers = list(score_consenting(engine, batches_of(consents)))
    people = [(f"{number}.{row}", agrees) for number, batch in enumerate(consents) for row, agrees in enumerate(batch)]
    assert [row for answer in answers for row in answer.column("customer_id").to_pylist()] == [
        name for name, _ in people
    ]
    assert [len(answer) for answer in answers] == [len(batch) for batch in consents]
    agreeing = [name for name, agrees in people if agrees]
    assert [name for asked in engine.asked for name in asked] == agreeing
    assert all(engine.asked)
    statuses = [status for answer in answers for status in answer.column("status").to_pylist()]
    assert statuses == ["OK" if agrees else "NO_CONSENT" for _, agrees in people]
    if agreeing:
        assert len({answer.schema for answer in answers}) == 1
        scores = [score for answer in answers for score in answer.column("score").to_pylist()]
        assert scores == [name if agrees else None for name, agrees in people]
    else:
        assert all(answer.schema.names == ["customer_id", "status"] for answer in answers)


def test_without_the_column_everybody_agrees() -> None:
    batches = [batch.drop_columns(["consent"]) for batch in batches_of([[True, False]])]
    (answer,) = score_consenting(ReadingAhead(0), batches)
    assert answer.column("status").to_pylist() == ["OK", "OK"]


# Whoever has not agreed comes without features, even those that the model needs.
CUSTOMERS = pa.table(
    {
        "customer_id": ["a", "b", "c", "d"],
        "consent": [True, False, None, True],
        "recency_days": [10.0, None, None, 100.0],
        "frequency": [1.0, None, None, 1.0],
        "channel": ["web", None, None, "web"],
    }
)


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return Servable(make_bundle(tmp_path_factory.mktemp("bundles") / "bundle"))


def score(servable: Servable, source: Path, output: Path) -> pa.Table:
    _, batches = read_batches(source, SCHEMA)
    run("churn", batches, lambda rows: score_locally(servable, rows), {"7"}, output, lambda done: None)
    return pq.read_table(output / SCORES_FILE)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_file_with_consent_keeps_its_rows_and_counts_them(servable: Servable, tmp_path: Path, form: str) -> None:
    source = tmp_path / f"customers.{form}"
    (pacsv.write_csv if form == "csv" else pq.write_table)(CUSTOMERS, source)
    scores = score(servable, source, tmp_path / "scores")
    assert scores.column("customer_id").to_pylist() == ["a", "b", "c", "d"]
    assert scores.column("status").to_pylist() == ["OK", "NO_CONSENT", "NO_CONSENT", "INACTIVE"]
    for name in scores.schema.names[2:]:
        assert scores.column(name).is_valid().to_pylist() == [True, False, False, False]
    manifest = json.loads((tmp_path / "scores" / MANIFEST_FILE).read_text())
    assert (manifest["rows"], manifest["statuses"]) == (4, {"OK": 1, "NO_CONSENT": 2, "INACTIVE": 1})


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("consent", [[False] * 4, [None] * 4])
def test_a_file_of_nobody_who_agrees_is_answered(
    servable: Servable, tmp_path: Path, form: str, consent: list[bool | None]
) -> None:
    source = tmp_path / f"customers.{form}"
    nobody = CUSTOMERS.set_column(1, "consent", pa.array(consent))
    (pacsv.write_csv if form == "csv" else pq.write_table)(nobody, source)
    scores = score(servable, source, tmp_path / "scores")
    assert scores.to_pydict() == {"customer_id": ["a", "b", "c", "d"], "status": ["NO_CONSENT"] * 4}


def test_a_consent_that_is_not_true_or_false_is_refused_by_name(tmp_path: Path) -> None:
    words = CUSTOMERS.set_column(1, "consent", pa.array(["yes", "no", None, "yes"]))
    pq.write_table(words, tmp_path / "customers.parquet")
    with pytest.raises(InputError, match="consent must be true or false, is string"):
        read_batches(tmp_path / "customers.parquet", SCHEMA)
