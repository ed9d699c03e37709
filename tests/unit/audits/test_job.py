"""The job: from an alias to a report that stays with the version."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from audits.errors import AuditError
from audits.job import POLICY_NOTE, SNAPSHOT_NOTE, audit_fairness, declaration
from audits.statistics import Verdict
from cli.models import MODELS
from features.project import load_project
from features.sections import Waiver
from model_registry.bundle import BundleError
from model_registry.clearance import audit_verdict, waived_until
from model_registry.schema import Feature
from tests.fakes.registry import FakeRegistry
from tests.support.audited import FREQUENCY, shop, spent_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from audits.report import Report
    from features.project import Project

pytestmark = pytest.mark.usefixtures("few_resamples")

TODAY = dt.date(2024, 7, 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return load_project(shop(tmp_path_factory.mktemp("shop")))


@pytest.fixture
def registry(tmp_path: Path) -> FakeRegistry:
    """A candidate, and a champion that looks at recency less."""
    fake = FakeRegistry()
    for version, weight, alias in (("1", 0.02, "champion"), ("2", 0.05, "candidate")):
        bundle = spent_bundle(tmp_path / version, weight=weight)
        fake.add(version, bundle.digest, bundle=tmp_path / version)
        fake.place(alias, version)
    return fake


def run(project: Project, registry: FakeRegistry, reference: str = "candidate", **options: object) -> Report:
    return audit_fairness(project, registry, "churn", reference, today=TODAY, **options)  # type: ignore[arg-type]  # a test's options


def test_report_and_verdict_stay_with_the_version(project: Project, registry: FakeRegistry, tmp_path: Path) -> None:
    report = run(project, registry, out=tmp_path / "out")
    files = registry.attached["run-2"]
    assert sorted(files) == ["audits/fairness/2024-05-24/fairness.html", "audits/fairness/2024-05-24/fairness.json"]
    record = json.loads(files["audits/fairness/2024-05-24/fairness.json"])
    assert record["verdict"] == report.verdict.value
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        name.rpartition("/")[2]: content for name, content in files.items()
    }
    version = registry.get("churn", "2")
    assert audit_verdict(version) == report.verdict.value
    assert version.notes[SNAPSHOT_NOTE] == "2024-05-24"
    assert version.notes[POLICY_NOTE] == report.audit.policy.digest
    assert registry.get("churn", "1").notes == {}


def test_the_verdict_is_not_noted_without_its_report(project: Project, registry: FakeRegistry) -> None:
    registry.on_record = lambda: pytest.fail("no report yet") if "run-2" not in registry.attached else None
    run(project, registry)
    assert registry.notes


def test_a_date_stands_as_in_training(project: Project, registry: FakeRegistry) -> None:
    assert run(project, registry, as_of=dt.date(2024, 1, 31)).audit.population.date == dt.date(2024, 1, 1)


def test_the_champion_is_audited_beside_a_candidate_and_not_beside_itself(
    project: Project, registry: FakeRegistry
) -> None:
    beside = run(project, registry).champion
    assert beside is not None
    assert (beside.version, beside.reason) == ("1", "")
    assert beside.audit is not None
    # What is shown of it: findings, and no figures or remedies that nobody looks at.
    assert beside.audit.findings
    assert beside.audit.outputs == ()
    assert run(project, registry, "champion").champion is None
    assert run(project, registry, "1").version == "1"


def test_what_the_champion_says_of_the_same_customers_stands_beside(project: Project, registry: FakeRegistry) -> None:
    before = run(project, registry).audit.population.before["churn_probability"]
    own = run(project, registry, "champion").audit.population
    assert (before == own.scores["churn_probability"]).all()
    assert own.before == {}


def test_a_category_that_a_version_takes_and_does_not_speak_of_is_read_for_it(tmp_path: Path) -> None:
    """It was not foreseen well enough to be served, and it is still among the inputs."""
    market = load_project(shop(tmp_path / "shop", consent='[propensity]\ncategories = ["bread"]'))
    taken = Feature("recency_days[tea]", "numeric", "days")
    bundle = spent_bundle(tmp_path / "bundle", second=taken)
    fake = FakeRegistry()
    fake.add("1", bundle.digest, bundle=tmp_path / "bundle")
    fake.place("candidate", "1")
    known = run(market, fake).audit.population.inputs.numeric[:, 1]
    assert np.isfinite(known).mean() > 0.5


def test_a_champion_that_cannot_be_audited_is_told_of(project: Project, registry: FakeRegistry, tmp_path: Path) -> None:
    bundle = spent_bundle(tmp_path / "old", second=Feature("store_visits", "numeric"))
    registry.add("1", bundle.digest, bundle=tmp_path / "old")
    beside = run(project, registry).champion
    assert beside is not None
    assert beside.audit is None
    assert "store_visits" in beside.reason


def test_waivers_of_the_project_count(project: Project, registry: FakeRegistry) -> None:
    registry.remove_alias("churn", "champion")
    report = run(project, registry)
    assert report.verdict is not Verdict.PASS
    failed = [one.name for one in report.audit.findings if one.verdict is Verdict.FAIL]
    waivers = [Waiver("churn", name, "a test", "Ada", dt.date(2030, 1, 1)) for name in (*failed, "churn_probability")]
    assert run(replace(project, waivers=tuple(waivers)), registry).verdict is Verdict.PASS
    assert waived_until(registry.get("churn", "2")) == "2030-01-01"


def test_a_model_that_knew_the_answers_is_told_of(project: Project, registry: FakeRegistry) -> None:
    """The bundle was trained on snapshots up to April 2023."""
    registry.remove_alias("churn", "champion")
    assert run(project, registry).remarks == ()
    (remark,) = run(project, registry, as_of=dt.date(2023, 5, 20)).remarks
    assert "knew some of the answers" in remark
    assert "from 2023-05-31 on" in remark
    assert run(project, registry, as_of=dt.date(2023, 5, 31)).remarks == ()


def test_churn_that_is_a_column_has_no_date(tmp_path: Path) -> None:
    file = shop(tmp_path, consent='churned = "agreed"\nattributes = ["visits", "spare"]')
    people = (tmp_path / "people.csv").read_text().splitlines()
    told = [f"{line},{number % 7},0" for number, line in enumerate(people[1:])]
    (tmp_path / "people.csv").write_text("\n".join([f"{people[0]},visits,spare", *told]))
    text = file.read_text()
    file.write_text(text[: text.index("[tables.transactions]")] + text[text.index("[churn]") :])
    visits = Feature("visits", "numeric", nullable=False)
    bundle = spent_bundle(tmp_path / "bundle", first=visits, second=replace(visits, name="spare"), horizon_days=0)
    fake = FakeRegistry()
    fake.add("1", bundle.digest, bundle=tmp_path / "bundle")
    fake.place("candidate", "1")
    report = run(load_project(file), fake)
    assert report.audit.population.horizon_days == 0
    assert "carries no date" in report.remarks[0]


def test_nothing_to_audit_says_what_to_do(project: Project, registry: FakeRegistry) -> None:
    with pytest.raises(AuditError, match="churn has no previous; see 'regulars models'"):
        run(project, registry, "previous")


def test_another_bundle_than_the_registered_one_is_refused(
    project: Project, registry: FakeRegistry, tmp_path: Path
) -> None:
    spent_bundle(tmp_path / "other", weight=0.3, second=FREQUENCY)
    registry.add("2", "0" * 64, bundle=tmp_path / "other")
    with pytest.raises(BundleError, match="not the bundle that was registered"):
        run(project, registry)


def test_progress_tells_every_step(project: Project, registry: FakeRegistry) -> None:
    steps: list[str] = []
    run(project, registry, progress=steps.append)
    assert steps == [
        "scoring with churn version 2",
        "auditing champion version 1 beside it",
        "writing the report",
    ]


def test_every_model_of_the_suite_has_a_declaration() -> None:
    assert all(declaration(model).answers for model in MODELS)
    assert not declaration("clustering").foresees
