"""regulars export: from the scores that 'regulars score' wrote to a list, and what it says about it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli.main import main
from tests.support.batches import base_of
from tests.support.bundles import SAMPLES

COUNT = 60


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    for sample in SAMPLES.values():
        sample.release(folder / "bundles", "1")
    pq.write_table(base_of(COUNT), folder / "customers.parquet")
    words = ["--input", str(folder / "customers.parquet"), "--output", str(folder / "scores")]
    allowed = ["--bundles", str(folder / "bundles"), "--max-rejected", "1"]
    assert main(["score", "all", *words, *allowed]) == 0
    return folder / "scores"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "list.csv"


def export(scores: Path, out: Path, *words: str) -> int:
    return main(["export", str(scores), "--out", str(out), *words])


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def ids(out: Path) -> set[str]:
    return {row["customer_id"] for row in rows(out)}


def test_a_list_is_written_and_told(scores: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--where", "churn high and not segment regular", "--top", "50%", "--columns", "churn, segment"]
    assert export(scores, out, *words, "--as", "Contact=customer_id", "--as", "Risk=churn") == 0
    listed = rows(out)
    assert list(listed[0]) == ["Contact", "Risk", "cluster_name"]
    said = json.loads(Path(f"{out}.json").read_text())
    counts = said["customers"]
    assert len(listed) == said["rows"] == -(-counts["chosen"] // 2)
    told = capsys.readouterr().out
    for line in (
        f"{len(listed)} of {COUNT} customers",
        f"{counts['no_consent']} gave no consent",
        f"{counts['without_score']} have no score by which to choose or to order",
        f"{counts['not_chosen']} are not in the filter",
        f"{counts['chosen'] - len(listed)} come after those of --top",
        "order value_at_risk descending",
        'filter churn_probability_band = "HIGH" and not cluster_name = "regular"',
        f"written {out}, and where it comes from: {out}.json",
    ):
        assert line in " ".join(told.split())
    assert "--except" not in told


def test_brackets_of_a_category_are_told(scores: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--where", "purchase[drug gm] >= 0", "--order-by", "purchase[grocery]", "--ascending"]
    assert export(scores, out, *words) == 0
    told = capsys.readouterr().out
    assert "purchase_probability[DRUG GM] >= 0" in told
    assert "purchase_probability[GROCERY] ascending" in told


def test_who_is_not_to_be_contacted_is_left_out(scores: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(scores, out) == 0
    before = ids(out)
    gone = sorted(before)[:3]
    for name, lines in (("one", ["\ufeffcustomer_id", *gone[:2]]), ("other", [gone[1], gone[2] + "\r", "", "nobody"])):
        Path(name).write_text("\n".join(lines), encoding="utf-8")
    capsys.readouterr()
    assert export(scores, out, "--except", "one", "--except", "other") == 0
    assert ids(out) == before - set(gone)
    told = " ".join(capsys.readouterr().out.split())
    assert "3 are not to be contacted, of 4 ids that --except names" in told
    assert "nobody of --except" not in told


def test_ids_that_are_nobodys_are_noticed(scores: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("no").write_text("7\n8\n")
    assert export(scores, out, "--except", "no") == 0
    assert "nobody of --except was left out for it: see that ids are written there as" in capsys.readouterr().out


def test_who_is_to_be_forgotten_is_left_out(scores: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(scores, out) == 0
    before = ids(out)
    assert "there is no regulars.toml here" in capsys.readouterr().err
    table = '[tables.transactions]\nsource = "o.csv"\ncustomer = "c"\ntime = "t"\namount = "a"\n'
    Path("regulars.toml").write_text(f'[project]\nname = "Shop"\n{table}')
    Path(".regulars").mkdir()
    gone = sorted(before)[:2]
    Path(".regulars/forgotten.txt").write_text("".join(f"{name}\n" for name in gone))
    assert export(scores, out) == 0
    assert ids(out) == before - set(gone)
    assert "2 are to be forgotten" in " ".join(capsys.readouterr().out.split())
    assert export(scores, out, "--project", "elsewhere.toml") == 1
    assert "does not exist" in capsys.readouterr().err


def test_ids_that_a_spreadsheet_would_run_are_told(scores: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    customers = base_of(COUNT).to_pydict()
    customers["customer_id"] = [f"+{name}" for name in customers["customer_id"]]
    pq.write_table(base_of(COUNT).from_pydict(customers, base_of(1).schema), "customers.parquet")
    words = ["--input", "customers.parquet", "--output", "scores", "--bundles", str(scores.parent / "bundles")]
    assert main(["score", "churn", *words, "--max-rejected", "1"]) == 0
    capsys.readouterr()
    assert export(Path("scores"), out) == 0
    assert f"{len(ids(out))} ids begin with =, +, - or @" in capsys.readouterr().out
    assert all(name.startswith("+") for name in ids(out))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--where", "churn hgih"], "churn is not hgih for anybody here; it is "),
        (["--where", ""], "a column is missing here"),
        (["--top", "some"], "--top some: "),
        (["--top", "0"], "--top 0 leaves nobody; write for example --top 500 or --top 10%"),
        (["--top", "-3"], "--top -3 leaves nobody"),
        (["--top", "0%"], "--top 0%: 0% is not more than 0% and at most 100%"),
        (["--as", "Risk"], "--as Risk is not NAME=COLUMN; write for example --as 'Risk=churn_probability'"),
        (["--as", "=churn"], "--as =churn is not NAME=COLUMN"),
        (["--as", "Risk="], "--as Risk= is not NAME=COLUMN"),
        (["--columns", "churn,"], "there is no column ;"),
        (["--except", "nowhere"], "nowhere"),
        (["--out", "list.xlsx"], "list.xlsx must end in .csv or .parquet"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    scores: Path, out: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert export(scores, out, *words) == 1
    said = capsys.readouterr().err
    assert complaint in said
    assert not out.exists()


def test_columns_with_commas_stand_in_quotes(scores: Path, out: Path) -> None:
    assert export(scores, out, "--columns", '"purchase[DRUG GM]", "churn"') == 0
    assert list(rows(out)[0]) == ["customer_id", "purchase_probability[DRUG GM]", "churn_probability"]
