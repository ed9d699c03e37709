from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features.project import TABLE_SECTIONS, ProjectError, load_project, project_reference
from features.sections import Business

if TYPE_CHECKING:
    from tests.unit.features.conftest import WriteProject

EXAMPLE = Path(__file__).parents[3] / "examples/complete_journey/regulars.toml"
LEAST = """
[project]
name = "Corner shop"
[tables.transactions]
source = "lines.parquet"
customer = "who"
time = "at"
amount = "paid"
"""
PEOPLE = """
[tables.customers]
source = "people.csv"
customer = "who"
"""


def test_the_least_project_has_every_default(write_project: WriteProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    file = write_project(LEAST)
    project = load_project(file)
    assert project.name == "Corner shop"
    assert project.currency == ""
    assert project.folder == file.parent
    assert project.has_time_axis
    assert project.tables.transactions is not None
    assert project.tables.transactions.customer == "who"
    assert project.tables.transactions.order is None
    assert project.tables.customers is None
    assert project.tables.transactions.duplicates is None
    assert (project.churn.horizon_days, project.churn.active_days) == (None, 90)
    assert (project.propensity.horizon_days, project.cltv.horizon_days) == (None, None)
    assert project.propensity.categories == ()
    assert (project.training.snapshots, project.training.spacing_days) == (7, 30)
    assert project.training.drop_features == ()
    assert project.registry.tracking_uri == f"sqlite:///{file.parent}/.regulars/mlflow.db"
    assert project.registry.bundles == file.parent / ".regulars/bundles"


def test_the_environment_names_the_registry_unless_the_file_does(
    write_project: WriteProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.shop.example")
    assert load_project(write_project(LEAST)).registry.tracking_uri == "https://mlflow.shop.example"
    written = write_project(LEAST + '[registry]\ntracking_uri = "sqlite:///here.db"\nbundles = "out"\n')
    registry = load_project(written).registry
    assert registry.tracking_uri == f"sqlite:///{written.parent}/here.db"
    assert registry.bundles == written.parent / "out"


def test_an_absolute_place_stays_where_it_is(write_project: WriteProject) -> None:
    text = LEAST + '[registry]\ntracking_uri = "sqlite:////var/m.db"\nbundles = "/var/bundles"\n'
    registry = load_project(write_project(text)).registry
    assert (registry.tracking_uri, registry.bundles) == ("sqlite:////var/m.db", Path("/var/bundles"))


def test_discount_is_one_column_or_several(write_project: WriteProject) -> None:
    for written, expected in {'"off"': ("off",), '["off", "coupon"]': ("off", "coupon")}.items():
        project = load_project(write_project(f"{LEAST}discount = {written}\n"))
        assert project.tables.transactions is not None
        assert project.tables.transactions.discount == expected


def test_an_observed_label_needs_no_transactions_and_has_no_time_axis(write_project: WriteProject) -> None:
    project = load_project(write_project('[project]\nname = "x"\n' + PEOPLE + 'churned = "left"\n'))
    assert not project.has_time_axis
    assert project.tables.transactions is None


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("[tables]\n", "project.name", "is required and missing"),
        (LEAST.replace('time = "at"\n', ""), "tables.transactions.time", "Add it under [tables.transactions]"),
        (LEAST + 'ordr = "b"\n', "tables.transactions.ordr", "nearest key is tables.transactions.order"),
        (LEAST + 'xyzzy = "b"\n', "tables.transactions.xyzzy", "Valid here: source, customer, time"),
        (LEAST + '[tables.transaction]\nsource = "x"\n', "tables.transaction", "tables.transactions"),
        (LEAST + "[chrun]\n", "chrun", "nearest key is churn"),
        (LEAST + "order = 3\n", "tables.transactions.order", "is 3, and must be a column"),
        (LEAST + "discount = [1]\n", "tables.transactions.discount", "must be a column or list of columns"),
        (LEAST + "[churn]\nhorizon_days = 0\n", "churn.horizon_days", "is 0, and must be a whole number"),
        (LEAST + "[churn]\nactive_days = 1.5\n", "churn.active_days", "must be a whole number of days"),
        (LEAST + "[churn]\nactive_days = 1_000_000_000\n", "churn.active_days", "from 1 to 36500"),
        (LEAST + "[training]\nsnapshots = 1001\n", "training.snapshots", "from 1 to 1000"),
        (
            LEAST + PEOPLE + 'attributes = ["age", "age"]\n',
            "tables.customers.attributes",
            "lists 'age' twice. Remove one",
        ),
        (LEAST + "[training]\nsnapshots = true\n", "training.snapshots", "is True, and must be"),
        (LEAST + '[training]\ndrop_features = "x"\n', "training.drop_features", "must be a list of names"),
        (LEAST.replace("[tables.transactions]", "[other]"), "other", "Valid here: tables, project"),
        ('[project]\nname = "x"\n', "tables.transactions", "map tables.customers.churned"),
        ('tables = 3\n[project]\nname = "x"\n', "tables", "Write [tables.transactions]"),
        ('churn = 3\n[project]\nname = "x"\n', "churn", "Write it as [churn]"),
        (
            LEAST + PEOPLE + 'attributes = ["age"]\nsensitive = ["age"]\n',
            "tables.customers.attributes",
            "lists 'age', which is mapped as sensitive too",
        ),
        (
            LEAST + PEOPLE + 'attributes = ["ok"]\nconsent = "ok"\n',
            "tables.customers.attributes",
            "lists 'ok', which is mapped as consent too",
        ),
        (
            LEAST + '[tables.products]\nsource = "p.csv"\nproduct = "p"\ncategory = "c"\n',
            "tables.products",
            "tables.transactions.product is not mapped",
        ),
        (
            LEAST + PEOPLE + 'churned = "left"\n[tables.subscriptions]\nsource="s"\ncustomer="c"\nstart="s"\nend="e"\n',
            "tables.subscriptions",
            "Keep one of the two",
        ),
        (LEAST + 'duplicates = "ignore"\n', "tables.transactions.duplicates", 'must be a text: "keep" or "drop"'),
        (LEAST + '[propensity]\ncategories = ["tea"]\n', "propensity.categories", "no table says what category"),
        (
            LEAST + 'category = "c"\n[propensity]\ncategories = ["Tea", "cake", "TEA"]\n',
            "propensity.categories",
            "lists 'Tea' and 'TEA', which are the same but for capitals. Keep one",
        ),
        ("[project\n", "the file", "is not TOML"),
    ],
)
def test_an_error_names_the_file_the_key_and_the_remedy(
    write_project: WriteProject, text: str, key: str, says: str
) -> None:
    file = write_project(text)
    with pytest.raises(ProjectError) as raised:
        load_project(file)
    assert raised.value.key == key
    assert str(raised.value).startswith(f"{file}: {key} ")
    assert says in str(raised.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="does not exist"):
        load_project(tmp_path / "nowhere.toml")


def test_the_reference_tells_every_key() -> None:
    reference = project_reference()
    rows = reference.strip().splitlines()[2:]
    assert all(row.count("|") == 5 for row in rows)
    told = [row.split("`")[1] for row in rows]
    assert len(set(told)) == len(told)
    declared = {"project": Business} | {f"tables.{name}": section for name, section in TABLE_SECTIONS.items()}
    assert {f"{name}.{key.name}" for name, section in declared.items() for key in fields(section)} <= set(told)
    assert {"churn.active_days", "training.snapshots", "registry.bundles"} <= set(told)


def test_the_example_is_a_project() -> None:
    assert load_project(EXAMPLE).churn.horizon_days == 30


def test_reading_a_project_loads_nothing_heavy() -> None:
    code = "import sys, features.project; print({'ibis', 'pandas', 'numpy', 'pyarrow', 'duckdb'} & set(sys.modules))"
    root = Path(__file__).parents[3]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
