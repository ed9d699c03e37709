"""regulars audit drift: a table in, a verdict, a report with the version, metrics out."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from cli import audit as module
from cli.main import main
from features.stamp import stamped
from tests.fakes.registry import FakeRegistry
from tests.support.bundles import make_bundle
from tests.support.drift import PROJECT, WINDOW, frozen_model, people, table_of

if TYPE_CHECKING:
    from pathlib import Path

    from model_registry.columns import Columns

MODEL = frozen_model(people(2000, seed=0))


@dataclass
class Desk:
    """A project with a champion in a registry of its own."""

    folder: Path
    registry: FakeRegistry

    def audit(self, columns: Columns, *options: str, as_of: dt.date | None = None, target: str = "churn") -> int:
        features = self.folder / "features.parquet"
        table = table_of(columns)
        pq.write_table(stamped(table, as_of) if as_of else table, features)
        project = str(self.folder / "regulars.toml")
        return main(["audit", "drift", target, "--input", str(features), "--project", project, *options])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    bundle = make_bundle(tmp_path / "bundle", schema=MODEL.schema, training_window=WINDOW)
    registry = FakeRegistry()
    registry.add("3", bundle.digest, bundle=tmp_path / "bundle")
    registry.place("champion", "3")
    monkeypatch.setattr(module, "MlflowRegistry", lambda uri, must_exist: registry)
    (tmp_path / "regulars.toml").write_text(PROJECT)
    (tmp_path / "orders.csv").write_text("who,at,paid\nc00001,2017-01-01,5.0\n")
    ids = [f"c{row:05}" for row in range(1500)]
    groups = pa.table({"who": ids, "gender": ["f", "m"] * 750, "region": ["north"] * 1490 + ["south"] * 10})
    pacsv.write_csv(groups, tmp_path / "people.csv")
    return Desk(tmp_path, registry)


def drifted() -> Columns:
    columns = people(1500, seed=1)
    columns.numeric[:, 0] = np.minimum(columns.numeric[:, 0] * 3, 90.0)
    return columns


@pytest.mark.parametrize(
    ("columns", "status", "verdict"),
    [(people(1500, seed=1), 0, "STABLE"), (drifted(), 1, "DRIFTED"), (people(200, seed=1), 3, "INSUFFICIENT")],
)
def test_the_exit_status_follows_the_verdict(
    desk: Desk, capsys: pytest.CaptureFixture[str], columns: Columns, status: int, verdict: str
) -> None:
    assert desk.audit(columns) == status
    assert f"churn version 3: {verdict};" in capsys.readouterr().out


def test_the_report_stays_with_the_version_and_in_a_folder(desk: Desk) -> None:
    out = desk.folder / "out"
    desk.audit(drifted(), "--out", str(out), as_of=dt.date(2017, 12, 31))
    attached = desk.registry.attached["run-3"]
    assert sorted(attached) == ["audits/drift/2017-12-31/drift.html", "audits/drift/2017-12-31/drift.json"]
    for path, content in attached.items():
        assert (out / path.rpartition("/")[2]).read_bytes() == content
        assert b"c00001" not in content
    record = json.loads(attached["audits/drift/2017-12-31/drift.json"])
    assert (record["verdict"], record["version"], record["age"]["days"]) == ("DRIFTED", "3", 30)
    assert {one["attribute"] for one in record["groups"]} == {"gender", "region"}


def test_groups_may_be_chosen(desk: Desk) -> None:
    desk.audit(people(1500, seed=1), "--by", "region")
    (record,) = [json.loads(content) for path, content in desk.registry.attached["run-3"].items() if "json" in path]
    assert [(one["group"], one["customers"]) for one in record["groups"]] == [("north", 1490), ("south", None)]


def test_the_result_is_written_for_a_collector(desk: Desk) -> None:
    file = desk.folder / "churn.prom"
    desk.audit(people(1500, seed=1), "--textfile", str(file))
    text = file.read_text()
    assert 'regulars_audit_verdict{audit="drift",model="churn",verdict="STABLE"} 1.0' in text
    assert 'group="north"' in text
    assert 'group="south"' not in text, "too few to be shown"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--by", "age"], "--by names age, which tables.customers.sensitive does not list; it lists gender, region"),
        (["--textfile", "churn.txt"], "ends in .prom"),
        (["--push", "http://127.0.0.1:1"], "See that one listens there"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    desk: Desk, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert desk.audit(people(1500, seed=1), *options) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "complaint"),
    [("fraud", "there is no model fraud"), ("churn@candidate", "churn has no candidate; see 'regulars models'")],
)
def test_a_target_that_is_not_there_is_named(
    desk: Desk, capsys: pytest.CaptureFixture[str], target: str, complaint: str
) -> None:
    assert desk.audit(people(10, seed=1), target=target) == 1
    assert complaint in capsys.readouterr().err


def test_a_download_that_is_another_bundle_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.registry.add("3", "another digest", bundle=desk.folder / "bundle")
    assert desk.audit(people(10, seed=1)) == 1
    assert "churn version 3 is not the bundle that was registered" in capsys.readouterr().err
