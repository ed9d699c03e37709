"""A shard becomes a part, and beside it those who were set aside; all parts of a run are alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest

from services.batch.errors import InputError
from services.batch.place import Place
from services.batch.plan import plan
from services.batch.rejected import SCHEMA as REJECTED_SCHEMA
from services.batch.scorers import BundleModel
from services.batch.shards import FAULT, REJECTED_FOLDER, ROW, ShardReport, Worker, footer_in, part_name, report_in
from tests.fakes.scoring import FakeModel
from tests.support.batches import COLUMNS, base_of, customers, source_in, source_of
from tests.support.bundles import SAMPLES, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.batch.scorers import Model
    from services.batch.source import Source


def worked(source: Source, output: Path, *models: Model, **options: Any) -> list[ShardReport]:
    """All shards of a source, worked on one after the other."""
    (output / REJECTED_FOLDER).mkdir(parents=True, exist_ok=True)
    task, _ = plan(models or [FakeModel()], source, Place(str(output)), **options)
    with Worker(task) as worker:
        return [worker.work(shard) for shard in source.shards]


def rejected_in(output: Path, number: int = 0) -> list[tuple[int, str | None, str | None, str]]:
    rows = pq.read_table(output / REJECTED_FOLDER / part_name(number)).to_pylist()
    return [(row["row"], row["customer_id"], row["model"], row["reason"]) for row in rows]


def column(output: Path, name: str, number: int = 0) -> list[Any]:
    values: list[Any] = pq.read_table(output / part_name(number)).column(name).to_pylist()
    return values


MIXED = customers(
    (None, True, 1.0, 1.0, "web"),
    ("007", True, 2.0, 1.0, "web"),
    ("", True, 3.0, 1.0, "web"),
    ("b", True, None, 1.0, "web"),
    ("c", False, None, None, None),
    ("b", True, 5.0, 1.0, "web"),
    ("d", None, 6.0, 1.0, "web"),
    ("e", True, 95.0, 3.0, None),
    ("f", True, 8.0, 4.0, None),
    ("g", True, float("inf"), 1.0, "web"),
)


@pytest.fixture
def repeated(tmp_path: Path) -> Place:
    pq.write_table(pa.table({"customer_id": ["b", "x"]}), tmp_path / "repeated.parquet")
    return Place(str(tmp_path / "repeated.parquet"))


def test_who_cannot_be_scored_is_set_aside_and_the_others_keep_their_places(tmp_path: Path, repeated: Place) -> None:
    model = FakeModel()
    (report,) = worked(source_of(tmp_path / "in", MIXED), tmp_path / "out", model, repeated=repeated)
    assert column(tmp_path / "out", "customer_id") == ["007", "c", "d", "e", "f", "g"]
    assert column(tmp_path / "out", "churn_status") == ["OK", "NO_CONSENT", "NO_CONSENT", "INACTIVE", "OK", "REFUSED"]
    assert column(tmp_path / "out", "churn_days") == [2.0, None, None, None, 8.0, None]
    assert rejected_in(tmp_path / "out") == [
        (0, None, None, "has no customer_id"),
        (2, "", None, "has no customer_id"),
        (3, "b", None, "its customer_id stands more than once"),
        (5, "b", None, "its customer_id stands more than once"),
        (9, "g", "churn", "recency_days is infinite or beyond float32"),
    ]
    assert model.asked == ["007", "e", "f"]
    assert report == ShardReport(
        number=0,
        rows=10,
        rejected=5,
        statuses={"churn": {"INACTIVE": 1, "NO_CONSENT": 2, "OK": 2, "REFUSED": 1}},
        bands={"churn_channel": {"": 1, "web": 1}},
        bins={"churn_days": [2, 0, 0]},
    )


def test_what_intake_found_is_told_by_the_rows_of_the_original(tmp_path: Path) -> None:
    table = base_of(4).append_column(ROW, pa.array([10, 11, 13, 14]))
    table = table.append_column(FAULT, pa.array([None, "is no table's row", None, "has a word among numbers"]))
    (report,) = worked(source_of(tmp_path / "in", table), tmp_path / "out")
    assert column(tmp_path / "out", "customer_id") == ["0000", "0002"]
    assert rejected_in(tmp_path / "out") == [
        (11, "0001", None, "is no table's row"),
        (14, "0003", None, "has a word among numbers"),
    ]
    assert (report.rows, report.rejected) == (4, 2)


def test_what_one_model_refuses_another_scores(tmp_path: Path) -> None:
    nullable = tuple(replace(feature, nullable=True) for feature in SCHEMA.features)
    source = source_of(tmp_path / "in", customers(("a", True, 5.0, 2.0, "web"), ("b", True, None, 2.0, "web")))
    models = FakeModel(), FakeModel("cltv", features=replace(SCHEMA, features=nullable))
    (report,) = worked(source, tmp_path / "out", *models)
    assert pq.read_table(tmp_path / "out" / part_name(0)).column_names == [
        "customer_id",
        *(f"churn_{name}" for name in ("status", "days", "channel", "often", "code")),
        *(f"cltv_{name}" for name in ("status", "days", "channel", "often", "code")),
    ]
    assert column(tmp_path / "out", "churn_status") == ["OK", "REFUSED"]
    assert column(tmp_path / "out", "cltv_status") == ["OK", "INACTIVE"]
    assert rejected_in(tmp_path / "out") == [(1, "b", "churn", "recency_days is missing and the model needs it")]
    assert (models[0].asked, models[1].asked) == (["a"], ["a", "b"])
    assert (report.rejected, report.statuses) == (
        1,
        {"churn": {"OK": 1, "REFUSED": 1}, "cltv": {"INACTIVE": 1, "OK": 1}},
    )


NOBODY = {
    "nobody agrees": [("a", False, 1.0, 1.0, "web"), ("b", None, 1.0, 1.0, "web")],
    "all are refused": [("a", True, None, 1.0, "web"), ("b", True, None, 1.0, "web")],
    "all are set aside": [(None, True, 1.0, 1.0, "web"), ("", True, 1.0, 1.0, "web")],
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[BundleModel]:
    """A version of each of the four models."""
    folder = tmp_path_factory.mktemp("bundles")
    return [BundleModel(sample.make(folder / name), "1") for name, sample in SAMPLES.items()]


@pytest.mark.parametrize("rows", NOBODY.values(), ids=NOBODY)
@pytest.mark.parametrize("with_features", [False, True])
def test_a_part_in_which_nobody_is_scored_is_like_the_others(
    real: Sequence[BundleModel], tmp_path: Path, rows: list[Any], with_features: bool
) -> None:
    table = pa.concat_tables([base_of(2), customers(*rows), base_of(2)])
    source = source_of(tmp_path / "in", table, shard_rows=2)
    reports = worked(source, tmp_path / "out", *real, with_features=with_features)
    schemas = [pq.read_schema(tmp_path / "out" / part_name(number)).remove_metadata() for number in range(3)]
    assert schemas[0] == schemas[1] == schemas[2]
    assert not any(pa.types.is_null(entry.type) for entry in schemas[0])
    whole = pds.dataset(tmp_path / "out").to_table()
    frame = pd.read_parquet(tmp_path / "out")
    scored = [list(report.statuses["churn"].values()) for report in reports]
    assert whole.num_rows == len(frame) == sum(count for counts in scored for count in counts)
    assert whole.filter(pa.compute.equal(whole.column("churn_status"), "OK")).num_rows == 4
    assert whole.schema.names == frame.columns.tolist() == schemas[0].names


def test_without_consent_there_are_no_features_beside_the_status(tmp_path: Path) -> None:
    coded = MIXED.set_column(4, "channel", MIXED.column("channel").dictionary_encode())
    source = source_of(tmp_path / "in", coded.slice(3), coded.slice(0, 3))
    worked(source, tmp_path / "out", with_features=True)
    part = pq.read_table(tmp_path / "out" / part_name(0)).to_pylist()
    shown = {row["customer_id"]: (row["recency_days"], row["frequency"], row["channel"]) for row in part}
    assert shown["d"] == shown["c"] == (None, None, None)
    assert shown["f"] == (8.0, 4.0, None)
    assert shown["007"] == (2.0, 1.0, "web")


def test_a_feature_and_a_score_of_one_name_are_refused(tmp_path: Path) -> None:
    table = base_of(2).append_column("churn_code", pa.array([1, 2]))
    odd = replace(SCHEMA, features=(*SCHEMA.features, replace(SCHEMA.features[1], name="churn_code")))
    source = source_of(tmp_path / "in", table)
    worked(source, tmp_path / "plain", FakeModel(features=odd))
    with pytest.raises(InputError, match="two columns of the scores would be called churn_code"):
        worked(source, tmp_path / "out", FakeModel(features=odd), with_features=True)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([7, 8, 70]), ["7", "8", "70"]),
        (pa.array(["007", "08", "9"]), ["007", "08", "9"]),
        (pa.array(["007", "08", "9"]).dictionary_encode(), ["007", "08", "9"]),
        (pa.array(["007", "08", "9"], pa.large_string()), ["007", "08", "9"]),
        (pa.array(["007", "08", "9"], pa.string_view()), ["007", "08", "9"]),
    ],
    ids=["numbers", "zeros", "coded", "large", "views"],
)
def test_ids_leave_as_text_with_all_their_zeros(tmp_path: Path, ids: pa.Array, expected: list[str]) -> None:
    source = source_of(tmp_path / "in", base_of(3).set_column(0, "customer_id", ids))
    worked(source, tmp_path / "out")
    assert column(tmp_path / "out", "customer_id") == expected
    assert pq.read_schema(tmp_path / "out" / part_name(0)).field("customer_id").type == pa.string()


def test_texts_coded_by_dictionaries_of_their_own_are_texts(tmp_path: Path) -> None:
    def coded(*texts: str | None) -> pa.Table:
        table = customers(*((f"{texts[0]}{place}", True, 1.0, 1.0, text) for place, text in enumerate(texts)))
        return table.set_column(4, "channel", table.column("channel").dictionary_encode())

    source = source_of(tmp_path / "in", coded("web", None, "shop"), coded("x", "shop", ""))
    worked(source, tmp_path / "out", with_features=True)
    assert column(tmp_path / "out", "churn_channel") == ["web", "", "shop", "x", "shop", ""]
    assert column(tmp_path / "out", "channel") == ["web", None, "shop", "x", "shop", ""]


def test_how_the_input_is_cut_into_row_groups_changes_nothing(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    worked(source_of(whole / "in", base_of(25)), whole / "out")
    worked(source_of(cut / "in", base_of(25), row_group_size=4), cut / "out")
    for number in range(3):
        found = [pq.read_table(folder / "out" / part_name(number)) for folder in (whole, cut)]
        assert found[0].equals(found[1])


def test_the_same_work_writes_the_same_bytes(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in", MIXED, base_of(8))
    worked(source, tmp_path / "out")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    worked(source, tmp_path / "out")
    assert {path: path.read_bytes() for path in files} == before
    assert len(files) == 4


def test_what_was_set_aside_before_and_is_not_now_is_gone(tmp_path: Path) -> None:
    worked(source_of(tmp_path / "in", MIXED), tmp_path / "out")
    assert (tmp_path / "out" / REJECTED_FOLDER / part_name(0)).exists()
    worked(source_of(tmp_path / "in", MIXED.slice(1, 1)), tmp_path / "out")
    assert not (tmp_path / "out" / REJECTED_FOLDER / part_name(0)).exists()


def test_the_footer_tells_what_became_of_the_shard(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in", MIXED)
    task, _ = plan([FakeModel()], source, Place(str(tmp_path / "out")))
    reports = worked(source, tmp_path / "out")
    part = Place(str(tmp_path / "out" / part_name(0)))
    assert report_in(part, task.run) == reports[0]
    assert report_in(part, "another run") is None


def test_a_count_over_what_is_written_is_the_count_of_the_work(real: Sequence[BundleModel], tmp_path: Path) -> None:
    """What 'regulars forget' counts anew after it took rows out."""
    source = source_of(tmp_path / "in", MIXED, base_of(40), shard_rows=50)
    (report,) = worked(source, tmp_path / "out", *real, FakeModel("fake"))
    footer = footer_in(Place(str(tmp_path / "out" / part_name(0))))
    assert footer is not None
    scores = pq.read_table(tmp_path / "out" / part_name(0))
    rejected = pq.read_table(tmp_path / "out" / REJECTED_FOLDER / part_name(0))
    assert footer.tally.count(0, scores, rejected) == footer.report == report
    assert sum(report.bins["fake_days"]) == report.statuses["fake"]["OK"]
    assert (report.rows, rejected.schema.remove_metadata()) == (50, REJECTED_SCHEMA.remove_metadata())


@pytest.mark.parametrize("damage", ["footer gone", "empty", "no Parquet", "foreign", "footer of another shape"])
def test_a_part_that_is_damaged_or_foreign_tells_nothing(tmp_path: Path, damage: str) -> None:
    """A part cut in its middle with its footer whole there is not: files appear by renaming, after they are synced."""
    source = source_of(tmp_path / "in", MIXED)
    task, _ = plan([FakeModel()], source, Place(str(tmp_path / "out")))
    worked(source, tmp_path / "out")
    file = tmp_path / "out" / part_name(0)
    content, table = file.read_bytes(), pq.read_table(file)
    if damage == "footer gone":
        file.write_bytes(content[: len(content) - 8])
    elif damage == "foreign":
        pq.write_table(table.replace_schema_metadata(None), file)
    elif damage == "footer of another shape":
        pq.write_table(table.replace_schema_metadata({"regulars.scores": f'{{"run": "{task.run}"}}'}), file)
    else:
        file.write_bytes(b"" if damage == "empty" else b"some words")
    assert report_in(Place(str(file)), task.run) is None


def test_an_input_that_changes_while_it_is_scored_is_noticed(tmp_path: Path) -> None:
    source = source_of(tmp_path / "in", base_of(10))
    pq.write_table(base_of(9), tmp_path / "in" / "0.parquet")
    with pytest.raises(InputError, match=r"0\.parquet has changed since the run began"):
        worked(source, tmp_path / "out")
    assert list((tmp_path / "out").glob("*.parquet")) == []


def test_columns_stand_in_any_order_in_the_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(base_of(3), tmp_path / "in" / "0.parquet")
    pq.write_table(base_of(3).select(COLUMNS.names[::-1]), tmp_path / "in" / "1.parquet")
    worked(source_in([tmp_path / "in" / "0.parquet", tmp_path / "in" / "1.parquet"]), tmp_path / "out")
    days = column(tmp_path / "out", "churn_days")
    assert days[:3] == days[3:]
