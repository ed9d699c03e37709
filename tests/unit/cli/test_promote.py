"""promote, rollback and sync as they are typed: what is printed, what is changed, and with which status they end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import pytest

from cli import main as command
from cli import registry as module
from cli.registry import NOT_SERVED
from model_registry.budget import Cost
from model_registry.clearance import FAIL, PASS, is_cleared, verdict_notes
from model_registry.evidence import Comparison, Evidence, Interval, Parity
from model_registry.promotion import promote
from model_registry.release import read_release
from tests.fakes.registry import FakeRegistry
from tests.support.bundles import make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model_registry.registry import RegisteredVersion

PROJECT = """
[project]
name = "Corner shop"
[tables.transactions]
source = "orders.csv"
customer = "who"
time = "at"
amount = "paid"
"""
SENSITIVE = """
[tables.customers]
source = "people.csv"
customer = "id"
sensitive = ["gender"]
"""


class Run(Protocol):
    def __call__(self, *words: str, project: str = ...) -> tuple[int, str]:
        """Status, and what is printed on either stream."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRegistry:
    """Versions 1 and 2 of churn, the first champion by somebody's hand, the second candidate."""
    fake = FakeRegistry()
    for version in ("1", "2"):
        folder = tmp_path / f"bundle-{version}"
        digest = make_bundle(folder, int(version) / 100).digest
        fake.add(version, digest, evidence(digest), folder)
    fake.place("champion", "1")
    fake.place("candidate", "2")
    monkeypatch.setattr(module, "MlflowRegistry", lambda uri, *, must_exist: fake)
    cheaply = partial(promote, cost_of=lambda folder: Cost(0.05, 0.2, 5.0, 3.0))
    monkeypatch.setattr(module, "promote_version", cheaply)
    return fake


def evidence(digest: str) -> Evidence:
    better = Interval(0.05, 0.02, 0.08)
    return Evidence(
        parity=Parity({"test rows": 1e-7}, rows=1000, limit=1e-6),
        metrics={},
        baselines=(Comparison("recency", "auc", better),),
        champion=Comparison("champion", "auc", better),
        champion_version="1",
        bundle_digest=digest,
        grade="good",
    )


@pytest.fixture
def run(registry: FakeRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Types a command for a project, and returns its status and what it prints, on either stream."""

    def typed(*words: str, project: str = PROJECT + SENSITIVE) -> tuple[int, str]:
        file = tmp_path / "regulars.toml"
        file.write_text(project)
        status = command.main([*words, "--project", str(file)])
        captured = capsys.readouterr()
        # A table breaks its lines where they are long.
        return status, " ".join((captured.out + captured.err).split())

    return typed


def audit(registry: FakeRegistry, version: str, verdict: str) -> None:
    registry.record("churn", version, verdict_notes(registry.get("churn", version), verdict))


def test_a_version_that_nobody_audited_is_not_promoted_where_there_are_groups(run: Run, registry: FakeRegistry) -> None:
    status, said = run("promote", "churn")
    assert status == 1
    assert "churn version 2, grade: good" in said
    assert "fairness audit: not audited: run 'regulars audit fairness churn@candidate'" in said
    assert "a gate fails; nothing has changed" in said
    assert (registry.moves, registry.notes, registry.attached) == ([], {}, {})


def test_where_no_group_is_mapped_there_is_nothing_to_audit(run: Run, registry: FakeRegistry) -> None:
    status, said = run("promote", "churn", project=PROJECT)
    assert status == 0
    assert "no sensitive attribute is mapped" in said
    assert "churn version 2 is champion" in said
    assert registry.alias("champion") == "2"


def test_a_project_may_leave_audits_to_its_people(run: Run, registry: FakeRegistry) -> None:
    optional = PROJECT + SENSITIVE + '[promotion]\naudit = "optional"\n'
    assert run("promote", "churn", "--dry-run", project=optional)[0] == 0
    audit(registry, "2", FAIL)
    assert run("promote", "churn", project=optional)[0] == 1


def test_the_limits_are_the_projects(run: Run) -> None:
    status, said = run("promote", "churn", project=f"{PROJECT}[promotion]\nmegabytes = 2\n")
    assert status == 1
    assert "memory at most 2 MB 3.0 MB FAIL" in said


def test_an_override_names_who_and_why(run: Run, registry: FakeRegistry) -> None:
    status, said = run("promote", "churn", "--override", "fairness audit", "--by", "Ada", "--reason", "pilot of a week")
    assert status == 0
    assert "overridden by Ada" in said
    assert is_cleared(registry.get("churn", "2"))


@pytest.mark.parametrize("words", [[], ["--by", "Ada"], ["--reason", "pilot"], ["--by", " ", "--reason", "pilot"]])
def test_an_override_without_a_name_or_a_reason_is_none(run: Run, registry: FakeRegistry, words: list[str]) -> None:
    status, said = run("promote", "churn", "--override", "fairness audit", *words)
    assert status == command.EXIT_FAILED
    assert "--override needs --by NAME and --reason TEXT" in said
    assert registry.moves == []


def test_an_override_that_is_not_possible_is_said_without_a_trace(run: Run) -> None:
    answer = ("--by", "Ada", "--reason", "pilot")
    status, said = run("promote", "churn", "--override", "speed", *answer)
    assert status == command.EXIT_FAILED
    assert "regulars promote: there is no gate 'speed'; there are 'parity with the native model', 'beats" in said


def test_a_break_is_accepted_by_whoever_runs_it(run: Run, registry: FakeRegistry, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "other", 0.03, horizon_days=60)
    registry.add("2", bundle.digest, evidence(bundle.digest), tmp_path / "other")
    audit(registry, "2", PASS)
    status, said = run("promote", "churn")
    assert status == 1
    assert "answers speak of 60 days, spoke of 30 FAIL" in said
    assert run("promote", "churn", "--accept-break")[0] == 0
    assert "accepted by --accept-break" in registry.notes["churn", "2"]["regulars.promotion_overrides"]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is the matter with the servers that are waited for; nothing, at first."""
    lacking: dict[str, str] = {}

    def wait(
        version: RegisteredVersion, pages: tuple[str, ...], seconds: float, say: Callable[[str], None]
    ) -> dict[str, str]:
        say(f"waiting {seconds:g} s for version {version.version} on {', '.join(pages) or 'nobody'}")
        return lacking

    monkeypatch.setattr(module, "wait_until_served", wait)
    return lacking


def test_it_waits_for_the_servers_that_are_named(run: Run, servers: dict[str, str]) -> None:
    status, said = run("promote", "churn", "--wait", "a:1,b:2", project=PROJECT)
    assert status == 0
    assert "waiting 60 s for version 2 on http://a:1/metrics, http://b:2/metrics" in said
    assert "2 of 2 servers serve churn version 2" in said


def test_it_waits_for_the_server_of_up_where_none_is_named(run: Run, servers: dict[str, str]) -> None:
    _, said = run("promote", "churn", "--wait", "--wait-seconds", "5", project=PROJECT)
    assert "waiting 5 s for version 2 on http://127.0.0.1:51051/metrics" in said


def test_servers_that_do_not_follow_are_told_by_the_status(
    run: Run, servers: dict[str, str], registry: FakeRegistry
) -> None:
    servers["http://a:1/metrics"] = "serves version 1"
    registry.place("previous", "2")
    for words in (("promote", "churn"), ("rollback", "churn")):
        status, said = run(*words, "--wait", "a:1,b:2", project=PROJECT)
        assert status == NOT_SERVED
        assert "http://a:1/metrics serves version 1" in said
        assert "is champion, and 1 of 2 servers do not serve it after 60 s" in said


def test_a_dry_run_has_nothing_to_wait_for(run: Run) -> None:
    status, said = run("promote", "churn", "--dry-run", "--wait")
    assert status == command.EXIT_FAILED
    assert "leave one of them out" in said


def test_a_rollback_asks_no_gate_and_says_what_followers_will(run: Run, registry: FakeRegistry) -> None:
    registry.place("previous", "2")
    status, said = run("rollback", "churn")
    assert status == 0
    assert "churn version 2 is champion again" in said
    assert "followers that demand one refuse it until 'regulars promote churn --version 2'" in said
    audit(registry, "1", PASS)
    assert "refuse" not in run("rollback", "churn")[1]


def test_sync_follows_the_project(run: Run, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    words = ("sync", "churn@champion", "--to", str(bundles))
    status, said = run(*words)
    assert status == command.EXIT_FAILED
    assert "no promotion let it through" in said
    assert read_release(bundles, "churn") is None
    assert run(*words, project=PROJECT)[0] == 0
    assert read_release(bundles, "churn") is not None


def test_sync_without_a_project_demands_an_audit_unless_it_is_told_otherwise(
    registry: FakeRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["sync", "churn@champion", "--to", "bundles", "--registry", "http://mlflow:5000"]
    assert command.main(words) == command.EXIT_FAILED
    assert command.main([*words, "--allow-unaudited"]) == 0
    assert "now holds churn version 1" in capsys.readouterr().out
