from __future__ import annotations

import json
from dataclasses import replace

import pytest

from model_registry.evidence import Comparison, Evidence, Interval, Parity
from model_registry.promotion import NON_INFERIORITY_MARGIN, promote, rollback
from model_registry.registry import RegistryError
from tests.fakes.registry import FakeRegistry

BETTER = Interval(0.05, 0.02, 0.08)
SLIGHTLY_WORSE = Interval(-0.001, -NON_INFERIORITY_MARGIN / 2, 0.003)
WORSE = Interval(-0.02, -NON_INFERIORITY_MARGIN, 0.003)
NAN = float("nan")


def evidence(version: str = "2", champion: str = "1") -> Evidence:
    return Evidence(
        parity=Parity({"test rows": 1e-7, "random rows": 2e-7}, rows=1000, limit=1e-6),
        metrics={"auc": Interval(0.86, 0.84, 0.88)},
        baselines=(Comparison("logistic regression", "auc", BETTER), Comparison("prior", "brier", BETTER)),
        champion=Comparison("champion", "auc", SLIGHTLY_WORSE),
        champion_version=champion,
        bundle_digest=digest(version),
    )


def digest(version: str) -> str:
    return version * 64


def registry_with(candidate: Evidence | None = None) -> FakeRegistry:
    """Version 1 is champion, version 2 candidate, version 0 was champion before."""
    registry = FakeRegistry()
    for version in ("0", "1", "2"):
        registry.add(version, digest(version), evidence(version))
    registry.add("2", digest("2"), candidate or evidence())
    registry.place("previous", "0")
    registry.place("champion", "1")
    registry.place("candidate", "2")
    return registry


def test_success_moves_previous_and_then_champion() -> None:
    registry = registry_with()
    promotion = promote(registry, "churn")
    assert promotion.passed
    assert promotion.moved
    assert promotion.version.version == "2"
    assert registry.moves == [("previous", "1"), ("champion", "2")]


def test_who_promoted_when_and_why_is_written_on_the_version() -> None:
    registry = registry_with()
    promote(registry, "churn")
    assert registry.notes.keys() == {("churn", "2")}
    assert registry.notes["churn", "2"].keys() == {
        "regulars.champion_since",
        "regulars.champion_by",
        "regulars.champion_why",
    }
    assert all(registry.notes["churn", "2"].values())


def with_baseline(difference: Interval, margin: float = 0.0) -> Evidence:
    good, last = evidence().baselines
    return replace(evidence(), baselines=(good, replace(last, difference=difference, margin=margin)))


@pytest.mark.parametrize(
    ("gate", "candidate"),
    [
        ("parity with the native model", replace(evidence(), parity=Parity({"rows": 2e-6}, 1000, 1e-6))),
        ("parity with the native model", replace(evidence(), parity=Parity({"rows": NAN}, 1000, 1e-6))),
        ("parity with the native model", replace(evidence(), parity=Parity({}, 0, 1e-6))),
        ("beats prior", with_baseline(Interval(0.01, 0.0, 0.02))),
        ("beats prior", with_baseline(Interval(0.01, -0.001, 0.02))),
        ("beats prior", with_baseline(Interval(NAN, NAN, NAN))),
        ("not worse than prior", with_baseline(Interval(-0.01, -0.02, 0.0), margin=0.02)),
        ("not worse than the champion", replace(evidence(), champion=Comparison("champion", "auc", WORSE))),
        ("not worse than the champion", replace(evidence(), champion=None)),
        ("not worse than the champion", evidence(champion="0")),
    ],
)
def test_each_gate_alone_stops_a_promotion(gate: str, candidate: Evidence) -> None:
    registry = registry_with(candidate)
    promotion = promote(registry, "churn")
    assert [row.name for row in promotion.gates if not row.passed] == [gate]
    assert not promotion.passed
    assert not promotion.moved
    assert registry.moves == []
    assert registry.notes == {}


def test_a_margin_lets_a_baseline_be_a_little_better() -> None:
    assert promote(registry_with(with_baseline(Interval(-0.01, -0.019, 0.0), margin=0.02)), "churn").moved


def test_every_gate_is_told_even_when_the_first_fails() -> None:
    candidate = replace(evidence(), parity=Parity({"rows": 1.0}, 1000, 1e-6))
    assert [gate.name for gate in promote(registry_with(candidate), "churn").gates] == [
        "parity with the native model",
        "beats logistic regression",
        "beats prior",
        "not worse than the champion",
    ]


def test_a_dry_run_judges_and_moves_nothing() -> None:
    registry = registry_with()
    promotion = promote(registry, "churn", dry_run=True)
    assert promotion.passed
    assert not promotion.moved
    assert registry.moves == []
    assert registry.notes == {}


def test_the_first_version_needs_no_champion() -> None:
    registry = FakeRegistry()
    registry.add("1", digest("1"), replace(evidence("1"), champion=None, champion_version=""))
    registry.place("candidate", "1")
    assert promote(registry, "churn").moved
    assert registry.moves == [("champion", "1")]


def test_a_named_version_is_judged_instead_of_the_candidate() -> None:
    registry = registry_with()
    registry.add("3", digest("3"), evidence("3"))
    assert promote(registry, "churn", "3").version.version == "3"
    assert registry.alias("champion") == "3"


def test_the_champion_again_moves_no_alias() -> None:
    registry = registry_with()
    assert promote(registry, "churn", "1").moved
    assert registry.moves == []
    assert registry.alias("previous") == "0"


def test_another_version_with_the_bundle_of_the_champion_needs_no_comparison() -> None:
    registry = registry_with()
    registry.add("3", digest("1"), replace(evidence("1"), champion=None))
    assert promote(registry, "churn", "3").moved


def test_evidence_of_another_bundle_is_refused() -> None:
    registry = registry_with(evidence("9"))
    with pytest.raises(RegistryError, match="evidence of churn version 2 is that of another bundle"):
        promote(registry, "churn")
    assert registry.moves == []


def test_without_a_candidate_the_error_says_what_to_run() -> None:
    with pytest.raises(RegistryError, match="no candidate; run 'regulars train churn'"):
        promote(FakeRegistry(), "churn")


def test_a_champion_moved_while_the_candidate_was_judged_is_noticed_before_anything_moves() -> None:
    registry = registry_with()
    registry.on_evidence = lambda: registry.place("champion", "0")
    with pytest.raises(RegistryError, match="was moved while its candidate was judged"):
        promote(registry, "churn")
    assert registry.moves == []
    assert registry.alias("champion") == "0"


def test_a_champion_moved_at_the_same_time_is_noticed() -> None:
    registry = registry_with()
    registry.on_point = lambda alias: registry.place("champion", "0") if alias == "champion" else None
    with pytest.raises(RegistryError, match="somebody else moved it"):
        promote(registry, "churn")
    assert registry.notes == {}


def test_a_failure_between_the_two_moves_leaves_the_champion() -> None:
    registry = registry_with()

    def fail(alias: str) -> None:
        registry.is_down = True

    registry.on_point = fail
    with pytest.raises(RegistryError):
        promote(registry, "churn")
    assert registry.alias("champion") == "1"


def test_a_promotion_that_failed_between_its_two_moves_is_finished_by_promoting_again() -> None:
    registry = registry_with()
    registry.on_point = lambda alias: setattr(registry, "is_down", True)
    with pytest.raises(RegistryError):
        promote(registry, "churn")
    registry.is_down, registry.on_point = False, lambda alias: None
    assert promote(registry, "churn").moved
    assert (registry.alias("champion"), registry.alias("previous")) == ("2", "1")


def test_a_promotion_whose_notes_fail_says_that_the_champion_has_moved() -> None:
    registry = registry_with()
    registry.on_record = lambda: setattr(registry, "is_down", True)
    with pytest.raises(RegistryError, match="version 2 of churn is champion now, but: the registry does not answer"):
        promote(registry, "churn")
    assert (registry.alias("champion"), registry.alias("previous")) == ("2", "1")


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    registry = registry_with()
    promote(registry, "churn")
    assert registry.notes["churn", "2"]["regulars.champion_by"] == f"uid {2**31 - 7}"


def test_a_rollback_exchanges_champion_and_previous() -> None:
    registry = registry_with()
    assert rollback(registry, "churn").version == "0"
    assert (registry.alias("champion"), registry.alias("previous")) == ("0", "1")
    assert "rolled back" in registry.notes["churn", "0"]["regulars.champion_why"]
    assert rollback(registry, "churn").version == "1"
    assert (registry.alias("champion"), registry.alias("previous")) == ("1", "0")


def test_a_rollback_undoes_a_promotion() -> None:
    registry = registry_with()
    promote(registry, "churn")
    rollback(registry, "churn")
    assert (registry.alias("champion"), registry.alias("previous")) == ("1", "2")


def test_a_rollback_without_a_previous_champion_is_refused() -> None:
    registry = registry_with()
    registry.remove_alias("churn", "previous")
    with pytest.raises(RegistryError, match="no previous champion"):
        rollback(registry, "churn")
    assert registry.alias("champion") == "1"


def test_a_rollback_that_fails_after_the_champion_has_moved_says_so() -> None:
    registry = registry_with()

    def fail(alias: str) -> None:
        if alias == "previous":
            raise RegistryError("the registry does not answer")

    registry.on_point = fail
    with pytest.raises(RegistryError, match="version 0 of churn is champion now, but: the registry does not answer"):
        rollback(registry, "churn")
    assert registry.alias("champion") == "0"


def test_a_rollback_overtaken_by_a_promotion_leaves_the_aliases_to_it() -> None:
    registry = registry_with()

    def promoted(alias: str) -> None:
        registry.place("previous", "1")
        registry.place("champion", "2")

    registry.on_point = promoted
    with pytest.raises(RegistryError, match="somebody else moved it"):
        rollback(registry, "churn")
    assert (registry.alias("champion"), registry.alias("previous")) == ("2", "1")
    assert registry.notes == {}


def test_a_rollback_to_the_champion_itself_is_refused() -> None:
    # What a promotion leaves that failed between its two moves.
    registry = registry_with()
    registry.place("previous", "1")
    with pytest.raises(RegistryError, match="champion and previous"):
        rollback(registry, "churn")
    assert registry.moves == []


def test_evidence_survives_json() -> None:
    for original in (evidence(), replace(evidence(), champion=None), with_baseline(BETTER, margin=0.1)):
        assert Evidence.from_json(json.loads(json.dumps(original.to_json()))) == original
