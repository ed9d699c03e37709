"""Lists out of scores that real runs have written: who is on them, in what order, and who never is."""

from __future__ import annotations

import csv
import hashlib
import json
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.batch import export as exporting
from services.batch.engines import LocalEngine
from services.batch.export import Counts, Wanted, export
from services.batch.filters import FilterError, Percent
from services.batch.place import Place
from services.batch.plan import plan
from services.batch.run import MANIFEST_FILE, run
from services.batch.scored import ExportError, ScoredFolder, opened
from services.batch.scorers import BundleModel
from tests.support.batches import customers, source_of
from tests.support.bundles import SAMPLES
from tests.support.filters import columns_of, filters, holds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.batch.filters import Filter
    from tests.support.filters import Row

    Score = Callable[..., Place]

COUNT = 90
SHARD_ROWS = 20


def base(count: int = COUNT) -> pa.Table:
    """Of every sort: of each eleven one does not agree, some miss a recency, some are long gone, many are alike."""
    return customers(
        *(
            (
                f"{row:04}",
                None if row % 11 == 5 else True,
                None if row % 13 == 7 else float(row * 37 % 120),
                None if row % 9 == 4 else float(row % 5 - 2),
                ("web", "shop", None)[row % 3],
            )
            for row in range(count)
        )
    )


@pytest.fixture(scope="module")
def score(tmp_path_factory: pytest.TempPathFactory) -> Score:
    """Runs models over customers into a folder."""
    folder = tmp_path_factory.mktemp("made")
    bundles = {name: sample.make(folder / name) for name, sample in SAMPLES.items()}

    def scored(output: Path | str, *names: str, table: pa.Table | None = None, with_features: bool = False) -> Place:
        source = source_of(folder / uuid.uuid4().hex, base() if table is None else table, shard_rows=SHARD_ROWS)
        models = [BundleModel(bundles[name], "7") for name in names]
        task, identity = plan(models, source, Place(str(output)), with_features=with_features)
        run(task, source, identity, LocalEngine(1), progress=lambda _done, _rows: None)
        return task.output

    return scored


@pytest.fixture(scope="module")
def scores(score: Score, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """All four models' scores of `base`, in parts, with the features."""
    return score(tmp_path_factory.mktemp("scores"), *SAMPLES, with_features=True)


@pytest.fixture
def out(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "list.csv"))


def rows_of(scores: Place) -> list[Row]:
    """What the parts hold, by id."""
    table = pa.concat_tables(pq.read_table((scores / name).path) for name in scores.names() if name.endswith("parquet"))
    rows: list[Row] = table.sort_by("customer_id").to_pylist()
    floats = [field.name for field in table.schema if pa.types.is_float32(field.type)]
    for row in rows:
        row |= {name: np.float32(row[name]) for name in floats if row[name] is not None}
        if row["churn_probability"] is not None and row["expected_value"] is not None:
            row["value_at_risk"] = row["churn_probability"] * row["expected_value"]
        else:
            row["value_at_risk"] = None
    return rows


def read(out: Place) -> list[dict[str, str]]:
    return list(csv.DictReader((out.read() or b"").decode().splitlines()))


def ids(out: Place) -> list[str]:
    return [row["customer_id"] for row in read(out)]


def agrees(row: Row) -> bool:
    return bool(row["churn_status"] != "NO_CONSENT")


def test_the_usual_list_is_all_who_have_a_value_at_risk_the_highest_first(scores: Place, out: Place) -> None:
    made = export([scores], out, Wanted())
    listed = [row for row in rows_of(scores) if row["value_at_risk"] is not None]
    listed.sort(key=lambda row: (-row["value_at_risk"], row["customer_id"]))
    assert ids(out) == [row["customer_id"] for row in listed]
    assert 0 < made.rows == made.counts.chosen == len(listed) < COUNT
    assert made.order == "value_at_risk descending"
    first = read(out)[0]
    assert list(first)[:2] == ["customer_id", "value_at_risk"]
    assert np.float32(first["value_at_risk"]) == listed[0]["value_at_risk"]
    assert not [name for name in first if name.endswith("_status") or name in {"recency_days", "channel"}]


def test_everybody_is_counted_once(scores: Place, out: Place) -> None:
    asked = Wanted(
        "churn high", excepted=frozenset({"0001", "0003", "0005"}), forgotten=frozenset({"0003", "0016", "nobody"})
    )
    made = export([scores], out, asked)
    others = [row for row in rows_of(scores) if row["customer_id"] not in {"0001", "0003", "0016"} and agrees(row)]
    known = [row for row in others if row["value_at_risk"] is not None]
    chosen = [row for row in known if row["churn_probability_band"] == "HIGH"]
    assert made.counts == Counts(
        forgotten=2,
        no_consent=sum(not agrees(row) for row in rows_of(scores)) - 1,
        excepted=1,
        without_score=len(others) - len(known),
        not_chosen=len(known) - len(chosen),
        chosen=len(chosen),
    )
    assert all(asdict(made.counts).values()), "each of them occurs"
    assert made.counts.customers == COUNT


@pytest.fixture(scope="module")
def questions(scores: Place) -> st.SearchStrategy[Filter]:
    """Random filters over the scores, that ask for numbers which occur and for others."""
    with opened([ScoredFolder.at(scores)]) as found:
        terms = found.terms
    numbers = [name for name in terms.kinds if terms.kinds[name] == "number"]
    known = sorted({float(row[name]) for row in rows_of(scores) for name in numbers if row[name] is not None})
    return filters(terms, st.sampled_from(known) | st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filters_choose_as_plain_python_does(
    scores: Place, questions: st.SearchStrategy[Filter], out: Place, data: st.DataObject
) -> None:
    asked, rows = data.draw(questions), rows_of(scores)
    export([scores], out, Wanted(str(asked), order_by="customer_id", ascending=True))
    able = [row for row in rows if agrees(row) and all(row[name] is not None for name in columns_of(asked))]
    assert ids(out) == [row["customer_id"] for row in able if holds(asked, row, rows)]


@pytest.mark.parametrize("where", ["churn top 30% and not value top 10%", "frequency top 5% or purchase top 0.1%"])
def test_what_a_filter_came_to_chooses_the_same(scores: Place, out: Place, where: str) -> None:
    made = export([scores], out, Wanted(where))
    before = out.read()
    assert "%" not in made.where
    assert export([scores], out, Wanted(made.where)).counts == made.counts
    assert out.read() == before


def test_a_number_is_compared_as_the_list_shows_it(scores: Place, out: Place) -> None:
    shown = Wanted(columns=("churn",))
    export([scores], out, shown)
    third = read(out)[2]
    export([scores], out, Wanted(f"churn = {third['churn_probability']}"))
    assert third["customer_id"] in ids(out)
    export([scores], out, Wanted(f"churn > {third['churn_probability']}"))
    assert third["customer_id"] not in ids(out)


def test_the_top_of_a_list_is_as_long_as_asked(scores: Place, out: Place) -> None:
    export([scores], out, Wanted("churn high"))
    everybody = ids(out)
    for top, length in ((7, 7), (10_000, len(everybody)), (Percent.read("10"), -(-len(everybody) // 10))):
        made = export([scores], out, Wanted("churn high", top=top))
        assert ids(out) == everybody[:length]
        assert made.rows == length
        assert made.counts.chosen == len(everybody)


def test_the_top_of_nobody_is_nobody(scores: Place, out: Place) -> None:
    assert export([scores], out, Wanted("churn > 1", top=Percent.read("10"))).rows == 0
    assert ids(out) == []


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("column", ["frequency_score", "unusual", "cluster_name", "churn_probability"])
def test_the_top_of_any_order_is_its_beginning(scores: Place, out: Place, column: str, *, ascending: bool) -> None:
    export([scores], out, Wanted(order_by=column, ascending=ascending))
    everybody = ids(out)
    export([scores], out, Wanted(order_by=column, ascending=ascending, top=13))
    assert ids(out) == everybody[:13]


@pytest.mark.parametrize("ascending", [False, True])
def test_equals_stand_by_their_ids(scores: Place, out: Place, *, ascending: bool) -> None:
    made = export([scores], out, Wanted(order_by="frequency_score", ascending=ascending, columns=("frequency_score",)))
    keys = [(int(row["frequency_score"]) * (1 if ascending else -1), row["customer_id"]) for row in read(out)]
    assert keys == sorted(keys)
    assert len({key for key, _ in keys}) < len(keys), "there are equals"
    assert made.order == f"frequency_score {'ascending' if ascending else 'descending'}"


@pytest.mark.parametrize(
    ("models", "order"),
    [
        (["churn"], "churn_probability descending"),
        (["cltv", "propensity"], "purchase_probability descending"),
        (["cltv"], "expected_value descending"),
        (["clustering"], "customer_id ascending"),
    ],
)
def test_the_usual_order_is_that_of_the_models_that_scored(
    score: Score, tmp_path: Path, out: Place, models: list[str], order: str
) -> None:
    assert export([score(tmp_path / "scores", *models)], out, Wanted()).order == order


def test_who_asks_for_a_status_gets_customers_without_scores(scores: Place, out: Place) -> None:
    made = export([scores], out, Wanted("churn_status inactive", columns=("churn", "churn_status")))
    asleep = [row["customer_id"] for row in rows_of(scores) if row["churn_status"] == "INACTIVE"]
    assert asleep
    assert ids(out) == asleep
    assert made.order == "customer_id ascending"
    assert {row["churn_probability"] for row in read(out)} == {""}


def test_silence_is_never_asked_for(scores: Place, out: Place) -> None:
    assert export([scores], out, Wanted("churn_status no_consent")).rows == 0
    assert (out.read() or b"").startswith(b"customer_id,"), "an empty list says what it would hold"


def test_who_said_no_to_one_of_two_runs_is_on_no_list(score: Score, tmp_path: Path, out: Place) -> None:
    refusing = base().set_column(1, "consent", pa.array([row > 30 for row in range(COUNT)]))
    places = [score(tmp_path / "churn", "churn"), score(tmp_path / "cltv", "cltv", table=refusing)]
    export(places, out, Wanted("churn > 0", order_by="churn"))
    assert ids(out)
    assert min(ids(out)) == "0031"


def test_folders_are_joined_by_id_and_lose_nobody(score: Score, tmp_path: Path, scores: Place, out: Place) -> None:
    apart = [
        score(tmp_path / "churn", "churn", table=base().slice(0, 60), with_features=True),
        score(tmp_path / "cltv", "cltv", table=base().slice(30), with_features=True),
        score(tmp_path / "segments", "clustering"),
    ]
    made = export(apart, out, Wanted("recency_days >= 0", order_by="recency_days"))
    assert made.counts.customers == COUNT
    together = {row["customer_id"]: row for row in rows_of(scores) if agrees(row) and row["recency_days"] is not None}
    assert set(ids(out)) == set(together), "of a feature it does not matter which folder has it"
    for row in read(out):
        expected, number = together[row["customer_id"]], int(row["customer_id"])
        texts = (expected["churn_probability_band"], expected["expected_value_band"], expected["cluster_name"])
        known = (number < 60, number >= 30, True)
        listed = (row["churn_probability_band"], row["expected_value_band"], row["cluster_name"])
        assert listed == tuple((text or "") * there for text, there in zip(texts, known, strict=True))
    export(apart, out, Wanted())
    assert {int(name) for name in ids(out)} <= set(range(30, 60)), "a value at risk takes both scores"


def test_columns_are_chosen_ordered_and_renamed(scores: Place, out: Place) -> None:
    names = {"customer_id": "Contact", "value_at_risk": "At risk"}
    asked = Wanted(columns=("segment", "VALUE_at_risk", "customer_id", "channel", "purchase[grocery]"), names=names)
    made = export([scores], out, asked)
    assert list(read(out)[0]) == ["cluster_name", "At risk", "Contact", "channel", "purchase_probability[GROCERY]"]
    assert list(made.columns.values())[:3] == ["cluster_name", "value_at_risk", "customer_id"]


def test_a_name_may_be_that_of_another_column(scores: Place, out: Place) -> None:
    export([scores], out, Wanted(columns=("churn",), names={"churn": "expected_value"}, order_by="value", top=1))
    best = max(
        filter(lambda row: row["expected_value"] is not None, rows_of(scores)), key=lambda r: r["expected_value"]
    )
    assert read(out) == [{"customer_id": best["customer_id"], "expected_value": str(best["churn_probability"])}]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Wanted(order_by="loyalty"), "there is no column loyalty; there are churn, value, segment, purchase"),
        (Wanted(columns=("churn", "loyalty")), "there is no column loyalty"),
        (Wanted(names={"loyalty": "x"}), "there is no column loyalty"),
        (Wanted(names={"channel": "x"}), "channel is to be called x and is not on the list; add it to --columns"),
        (Wanted(columns=("churn",), names={"churn": "customer_id"}), "two columns of the list have the same name"),
        (Wanted(columns=("churn", "churn_probability")), "two columns of the list have the same name"),
        (Wanted("churn hgih"), "churn is not hgih for anybody here; it is HIGH"),
        (Wanted(""), "a column is missing here"),
    ],
)
def test_what_is_not_there_cannot_be_wanted(scores: Place, out: Place, asked: Wanted, complaint: str) -> None:
    with pytest.raises((ExportError, FilterError), match=complaint):
        export([scores], out, asked)
    assert out.parent.names() == []


def test_parquet_keeps_the_types(scores: Place, out: Place) -> None:
    place = out.parent / "list.parquet"
    export([scores], place, Wanted(columns=("churn", "unusual", "segment"), names={"churn": "Risk"}))
    found = pq.read_table(place.path)
    assert found.schema.names == ["customer_id", "Risk", "unusual", "cluster_name"]
    assert list(map(str, found.schema.types)) == ["string", "float", "bool", "string"]
    export([scores], out, Wanted())
    assert found["customer_id"].to_pylist() == ids(out)


def test_a_list_in_many_batches_is_the_same_list(scores: Place, out: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    export([scores], out, Wanted())
    whole = out.read()
    monkeypatch.setattr(exporting, "WRITTEN_ROWS", 7)
    export([scores], out, Wanted())
    assert out.read() == whole


def test_what_a_list_is_stands_beside_it(scores: Place, out: Place) -> None:
    made = export(
        [scores], out, Wanted("churn high and purchase top 50%", top=Percent.read("20"), names={"segment": "S"})
    )
    said = json.loads((out.parent / "list.csv.json").read() or b"")
    manifest = (scores / MANIFEST_FILE).read() or b""
    assert said["asked"] == "churn high and purchase top 50%"
    assert said["where"] == made.where
    assert said["where"].startswith('churn_probability_band = "HIGH" and purchase_probability >= 0.')
    assert (said["rows"], said["order"], said["top"]) == (made.rows, "value_at_risk descending", "20%")
    assert said["columns"]["S"] == "cluster_name"
    assert sum(said["customers"].values()) == COUNT
    (scored,) = said["scores"]
    assert scored["manifest"] == hashlib.sha256(manifest).hexdigest()
    assert scored["models"]["churn"]["version"] == "7"
    assert "0001" not in json.dumps(said), "it names nobody"


ODD = ('=cmd|"x"!A1', "+49 30", "-1", "@home", "\tx", 'a "b", c', "line\nbreak", "ünïcode", "0012", " x ", "plain")


def test_ids_are_never_altered_and_other_texts_run_nowhere(score: Score, tmp_path: Path, out: Place) -> None:
    table = customers(*((name, True, 10.0, 1.0, name) for name in ODD))
    made = export(
        [score(tmp_path / "scores", "churn", table=table, with_features=True)],
        out,
        Wanted(columns=("channel", "churn")),
    )
    content = (out.read() or b"").decode()
    assert content.startswith("customer_id,channel,churn_probability\r\n")
    assert '"a ""b"", c"' in content
    listed = list(csv.reader(content.splitlines(keepends=True)))[1:]
    assert sorted(row[0] for row in listed) == sorted(ODD)
    for name, channel, _ in listed:
        assert channel == (f"'{name}" if name[0] in "=+-@\t" else name)
    assert made.formulas == 5
    parquet = out.parent / "list.parquet"
    export([Place(str(tmp_path / "scores"))], parquet, Wanted(columns=("channel",)))
    assert sorted(pq.read_table(parquet.path)["channel"].to_pylist()) == sorted(ODD)


def test_only_complete_runs_are_exported(score: Score, tmp_path: Path, out: Place) -> None:
    place = score(tmp_path / "scores", "churn")
    manifest = (place / MANIFEST_FILE).read() or b""
    (place / "part-00001.parquet").remove()
    with pytest.raises(ExportError, match=r"has lost part-00001.parquet; run its 'regulars score' with --restart"):
        export([place], out, Wanted())
    (place / MANIFEST_FILE).write(manifest[:50])
    with pytest.raises(ExportError, match=r"_manifest.json is damaged; run its 'regulars score' with --restart"):
        export([place], out, Wanted())
    (place / MANIFEST_FILE).write(manifest.replace(b'"format": 1', b'"format": 0'))
    with pytest.raises(ExportError, match="another release scored"):
        export([place], out, Wanted())
    (place / MANIFEST_FILE).remove()
    with pytest.raises(ExportError, match="is not complete; run the same 'regulars score' again to finish it"):
        export([place], out, Wanted())
    with pytest.raises(ExportError, match="holds no scores; give the --output of a 'regulars score'"):
        export([place / "elsewhere"], out, Wanted())
    assert out.parent.names() == []


def test_a_damaged_part_leaves_no_list(score: Score, tmp_path: Path, out: Place) -> None:
    place = score(tmp_path / "scores", "churn")
    part = tmp_path / "scores" / "part-00003.parquet"
    content = bytearray(part.read_bytes())
    content[4:200] = bytes(196)
    part.write_bytes(bytes(content))
    with pytest.raises(ExportError, match=f"no list can be made of {tmp_path}/scores: "):
        export([place], out, Wanted())
    assert out.parent.names() == []


def test_scores_that_change_meanwhile_leave_no_list(
    score: Score, tmp_path: Path, out: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = score(tmp_path / "scores", "churn")
    write = exporting.WRITERS[".csv"]

    def slow(*given: Any) -> int:
        (place / MANIFEST_FILE).remove()
        return write(*given)

    monkeypatch.setitem(exporting.WRITERS, ".csv", slow)
    with pytest.raises(ExportError, match="changed meanwhile; export again"):
        export([place], out, Wanted())
    assert out.parent.names() == []


@pytest.mark.parametrize(("said", "raised"), [("Query interrupted", KeyboardInterrupt), ("a bug", RuntimeError)])
def test_an_interrupted_query_is_an_interrupt(
    scores: Place, out: Place, monkeypatch: pytest.MonkeyPatch, said: str, raised: type[BaseException]
) -> None:
    def interrupted(*_given: Any) -> int:
        raise RuntimeError(said)

    monkeypatch.setitem(exporting.WRITERS, ".csv", interrupted)
    with pytest.raises(raised):
        export([scores], out, Wanted())
    assert out.parent.names() == []


def test_a_list_replaces_that_of_yesterday_whole(scores: Place, out: Place) -> None:
    out.write(b"yesterday")
    with pytest.raises(ExportError):
        export([scores], out, Wanted(order_by="loyalty"))
    assert out.read() == b"yesterday"
    export([scores], out, Wanted(top=1))
    assert len(ids(out)) == 1


def test_the_folder_of_a_list_is_made(scores: Place, out: Place) -> None:
    export([scores], out.parent / "lists" / "today.csv", Wanted())
    assert (out.parent / "lists").names() == ["today.csv", "today.csv.json"]


def test_two_runs_of_one_model_are_too_many(score: Score, tmp_path: Path, out: Place, scores: Place) -> None:
    other = score(tmp_path / "scores", "cltv")
    with pytest.raises(ExportError, match="are both scores of cltv; give one of them"):
        export([scores, other], out, Wanted())


def test_a_share_of_nobody_is_refused(score: Score, tmp_path: Path, out: Place) -> None:
    table = base().set_column(1, "consent", pa.array([False] * COUNT))
    place = score(tmp_path / "scores", "churn", table=table)
    with pytest.raises(ExportError, match="no customer has a churn_probability; see their statuses"):
        export([place], out, Wanted("churn top 10%"))
    assert export([place], out, Wanted()).counts == Counts(no_consent=COUNT)


@pytest.mark.parametrize("name", ["list", "list.xlsx", "list.csv.gz"])
def test_a_list_of_another_kind_is_refused(scores: Place, out: Place, name: str) -> None:
    with pytest.raises(ExportError, match=r"must end in .csv or .parquet"):
        export([scores], out.parent / name, Wanted())


def test_scores_and_lists_may_be_elsewhere(score: Score, scores: Place, out: Place) -> None:
    far = score(f"memory://{uuid.uuid4()}/scores", "churn", "cltv")
    there = Place(f"memory://{uuid.uuid4()}/list.csv")
    export([far], there, Wanted())
    export([scores], out, Wanted(columns=tuple(read(there)[0])))
    assert there.read() == out.read()


@pytest.mark.parametrize("name", ["month=5", "a[1]*?", 'it\'s "quoted" 100%'])
def test_folders_may_be_called_anything(score: Score, tmp_path: Path, out: Place, name: str) -> None:
    place = score(tmp_path / name, "churn")
    made = export([place], out, Wanted())
    assert list(made.columns) == [
        "customer_id",
        "churn_probability",
        "churn_probability_percentile",
        "churn_probability_band",
    ]


def test_features_that_are_no_number_are_missing(score: Score, tmp_path: Path, out: Place) -> None:
    table = customers(("a", True, 10.0, float("nan"), "web"), ("b", True, 20.0, 3.0, "web"))
    place = score(tmp_path / "scores", "churn", table=table, with_features=True)
    assert export([place], out, Wanted("frequency top 100%")).counts.without_score == 1
    assert ids(out) == ["b"]
