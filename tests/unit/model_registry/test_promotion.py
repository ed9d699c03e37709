from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from model_registry.budget import Budget, Cost
from model_registry.bundle import BundleError
from model_registry.clearance import FAIL, INCONCLUSIVE, PASS, Waived, is_cleared, verdict_notes
from model_registry.evidence import Comparison, Evidence, Interval, Parity, Requirement
from model_registry.gates import (
    AUDIT,
    CALLERS,
    NON_INFERIORITY_MARGIN,
    PARITY,
    AuditRule,
    Override,
    OverrideError,
)
from model_registry.promotion import OVERRIDES_NOTE, REPORT_NOTE, SINCE_NOTE, Demands, Promotion, promote, rollback
from model_registry.registry import RegistryError
from tests.fakes.registry import FakeRegistry
from tests.support.bundles import SCHEMA, make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BETTER = Interval(0.05, 0.02, 0.08)
SLIGHTLY_WORSE = Interval(-0.001, -NON_INFERIORITY_MARGIN / 2, 0.003)
WORSE = Interval(-0.02, -NON_INFERIORITY_MARGIN, 0.003)
NAN = float("nan")

CHEAP = Cost(row_milliseconds=0.05, row_p99_milliseconds=0.2, table_milliseconds=5.0, megabytes=3.0)
VERSIONS = ("0", "1", "2", "3")
WEIGHTS = dict(zip(VERSIONS, (0.01, 0.02, 0.03, 0.04), strict=True))

BUNDLES: dict[str, Path] = {}
DIGESTS: dict[str, str] = {}


@pytest.fixture(autouse=True, scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A bundle for each version, made once: they are read and never changed."""
    folder = tmp_path_factory.mktemp("bundles")
    for version, weight in WEIGHTS.items():
        BUNDLES[version] = folder / version
        DIGESTS[version] = make_bundle(BUNDLES[version], weight).digest


def evidence(version: str = "2", against: str = "1", **changes: Any) -> Evidence:
    original = Evidence(
        parity=Parity({"test rows": 1e-7, "random rows": 2e-7}, rows=1000, limit=1e-6),
        metrics={"auc": Interval(0.86, 0.84, 0.88)},
        baselines=(Comparison("logistic regression", "auc", BETTER), Comparison("prior", "brier", BETTER)),
        champion=Comparison("champion", "auc", SLIGHTLY_WORSE),
        champion_version=against,
        bundle_digest=DIGESTS[version],
        requirements=(Requirement("observed_expected", 1.1, 0.8, 1.25),),
        grade="good",
    )
    return replace(original, **changes)


def with_baseline(difference: Interval, margin: float = 0.0) -> Evidence:
    good, last = evidence().baselines
    return evidence(baselines=(good, replace(last, difference=difference, margin=margin)))


def registry_with(candidate: Evidence | None = None, audit: str = PASS) -> FakeRegistry:
    """Version 1 is champion, version 2 candidate, version 0 was champion before; all but version 2 passed audits."""
    registry = FakeRegistry()
    for version in ("0", "1"):
        add(registry, version)
    add(registry, "2", candidate, audit)
    registry.place("previous", "0")
    registry.place("champion", "1")
    registry.place("candidate", "2")
    return registry


def add(registry: FakeRegistry, version: str, seen: Evidence | None = None, audit: str = PASS, like: str = "") -> None:
    """A version with the bundle of its number, or with that of another."""
    source = like or version
    registry.add(version, DIGESTS[source], seen or evidence(source), BUNDLES[source])
    if audit:
        registry.record("churn", version, verdict_notes(registry.get("churn", version), audit))


def decide(registry: FakeRegistry, version: str = "", **options: Any) -> Promotion:
    return promote(registry, "churn", version, **{"cost_of": lambda folder: CHEAP, **options})


def state(registry: FakeRegistry) -> object:
    """Everything that a promotion may change."""
    aliases = {alias: registry.alias(alias) for alias in ("candidate", "champion", "previous")}
    return deepcopy((aliases, registry.moves, registry.notes, registry.attached))


def failing(promotion: Promotion) -> list[str]:
    return [gate.name for gate in promotion.gates if not gate.opens]


def test_success_moves_previous_and_then_champion() -> None:
    registry = registry_with()
    promotion = decide(registry)
    assert promotion.passed
    assert promotion.moved
    assert promotion.version.version == "2"
    assert promotion.grade == "good"
    assert registry.moves == [("previous", "1"), ("champion", "2")]


def test_who_promoted_when_and_why_is_written_on_the_version() -> None:
    registry = registry_with()
    decide(registry)
    notes = registry.notes["churn", "2"]
    assert notes["regulars.champion_why"] == "every gate passed"
    assert notes[SINCE_NOTE]
    assert notes["regulars.champion_by"]
    assert notes[OVERRIDES_NOTE] == "none"
    assert is_cleared(registry.get("churn", "2"))


def test_the_report_of_the_gates_stays_with_the_run() -> None:
    registry = registry_with()
    promotion = decide(registry)
    report = json.loads(registry.attached["run-2"][registry.notes["churn", "2"][REPORT_NOTE]])
    assert (report["model"], report["version"], report["bundle_digest"]) == ("churn", "2", DIGESTS["2"])
    assert report["champion_before"] == "1"
    assert [gate["name"] for gate in report["gates"]] == [gate.name for gate in promotion.gates]
    assert {gate["verdict"] for gate in report["gates"]} == {"pass"}


GATES = {
    "a certificate beyond its limit": (PARITY, lambda: evidence(parity=Parity({"rows": 2e-6}, 1000, 1e-6))),
    "a certificate of no number": (PARITY, lambda: evidence(parity=Parity({"rows": NAN}, 1000, 1e-6))),
    "an empty certificate": (PARITY, lambda: evidence(parity=Parity({}, 0, 1e-6))),
    "no baseline": ("beats a baseline", lambda: evidence(baselines=())),
    "as good as a baseline": ("beats prior", lambda: with_baseline(Interval(0.01, 0.0, 0.02))),
    "perhaps worse than a baseline": ("beats prior", lambda: with_baseline(Interval(0.01, -0.001, 0.02))),
    "a difference of no number": ("beats prior", lambda: with_baseline(Interval(NAN, NAN, NAN))),
    "beyond the margin": ("not worse than prior", lambda: with_baseline(Interval(-0.01, -0.02, 0.0), margin=0.02)),
    "a level too low": (
        "observed expected",
        lambda: evidence(requirements=(Requirement("observed_expected", 1.3, 0.8, 1.25),)),
    ),
    "a level of no number": (
        "observed expected",
        lambda: evidence(requirements=(Requirement("observed_expected", NAN, 0.8),)),
    ),
    "worse than the champion": (
        "not worse than the champion",
        lambda: replace(evidence(), champion=Comparison("champion", "auc", WORSE)),
    ),
    "not compared": ("not worse than the champion", lambda: replace(evidence(), champion=None)),
    "compared with another": ("not worse than the champion", lambda: evidence(against="0")),
}


@pytest.mark.parametrize(("gate", "candidate"), GATES.values(), ids=GATES)
def test_each_gate_of_the_evidence_alone_stops_a_promotion(gate: str, candidate: Callable[[], Evidence]) -> None:
    registry = registry_with(candidate())
    before = state(registry)
    promotion = decide(registry)
    assert failing(promotion) == [gate]
    assert not promotion.passed
    assert not promotion.moved
    assert state(registry) == before


COSTS = {
    "time for one customer": replace(CHEAP, row_milliseconds=5.1),
    "time for 1,000 customers": replace(CHEAP, table_milliseconds=251.0),
    "memory": replace(CHEAP, megabytes=129.0),
}


@pytest.mark.parametrize(("gate", "cost"), COSTS.items(), ids=COSTS)
def test_a_bundle_that_costs_too_much_is_stopped(gate: str, cost: Cost) -> None:
    registry = registry_with()
    before = state(registry)
    assert failing(decide(registry, cost_of=lambda folder: cost)) == [gate]
    assert state(registry) == before


def test_the_budget_is_the_projects() -> None:
    tight = Demands(budget=Budget(row_milliseconds=0.01, table_milliseconds=1.0, megabytes=1.0))
    assert failing(decide(registry_with(), demands=tight)) == list(COSTS)


def test_the_bundle_that_is_measured_is_the_candidates() -> None:
    measured: list[str] = []

    def cost_of(folder: Path) -> Cost:
        measured.append((folder / "SHA256SUMS").read_text())
        return CHEAP

    decide(registry_with(), cost_of=cost_of)
    assert measured == [(BUNDLES["2"] / "SHA256SUMS").read_text()]


@pytest.mark.parametrize(
    ("rule", "verdict", "passes"),
    [
        (AuditRule.REQUIRED, PASS, True),
        (AuditRule.REQUIRED, INCONCLUSIVE, False),
        (AuditRule.REQUIRED, FAIL, False),
        (AuditRule.REQUIRED, "", False),
        (AuditRule.OPTIONAL, PASS, True),
        (AuditRule.OPTIONAL, INCONCLUSIVE, True),
        (AuditRule.OPTIONAL, FAIL, False),
        (AuditRule.OPTIONAL, "", True),
        (AuditRule.NOTHING_TO_COMPARE, "", True),
        (AuditRule.NOTHING_TO_COMPARE, FAIL, False),
    ],
)
def test_the_audit_that_a_project_demands(rule: AuditRule, verdict: str, passes: bool) -> None:
    registry = registry_with(audit=verdict)
    promotion = decide(registry, demands=Demands(rule))
    assert failing(promotion) == ([] if passes else [AUDIT])
    # What may be promoted may be served, and nothing else.
    assert is_cleared(registry.get("churn", "2")) == passes


def test_an_audit_that_is_missing_names_the_command() -> None:
    (gate,) = (gate for gate in decide(registry_with(audit="")).gates if gate.name == AUDIT)
    assert gate.figure == "not audited: run 'regulars audit fairness churn@candidate'"
    registry = registry_with()
    add(registry, "3", audit="")
    (gate,) = (gate for gate in decide(registry, "3").gates if gate.name == AUDIT)
    assert gate.figure == "not audited: run 'regulars audit fairness churn@3'"


def audit_figure(waived: Waived) -> str:
    registry = registry_with()
    registry.record("churn", "2", verdict_notes(registry.get("churn", "2"), PASS, waived))
    (gate,) = (gate for gate in decide(registry).gates if gate.name == AUDIT)
    return f"{gate.figure} {gate.verdict}"


def test_an_audit_that_hangs_on_a_waiver_passes_until_that_expires() -> None:
    assert audit_figure(Waived(INCONCLUSIVE, date.max)) == "PASS, waived until 9999-12-31 pass"
    assert audit_figure(Waived(INCONCLUSIVE, date(2026, 1, 1))) == (
        "INCONCLUSIVE: a waiver expired on 2026-01-01, run 'regulars audit fairness churn@candidate' again FAIL"
    )


def test_the_audit_of_another_bundle_is_none() -> None:
    registry = registry_with(audit="")
    registry.record("churn", "2", verdict_notes(registry.get("churn", "1"), PASS))
    assert failing(decide(registry)) == [AUDIT]


def test_without_a_word_of_the_project_the_audit_is_demanded() -> None:
    assert failing(decide(registry_with(audit=""))) == [AUDIT]


@pytest.fixture
def demanding(tmp_path: Path) -> FakeRegistry:
    """A candidate that wants an input which the champion's callers may leave out."""
    first, *others = SCHEMA.features
    schema = replace(SCHEMA, features=(first, *(replace(feature, nullable=False) for feature in others)))
    bundle = make_bundle(tmp_path / "bundle", schema=schema)
    registry = registry_with()
    registry.add("2", bundle.digest, evidence(bundle_digest=bundle.digest), tmp_path / "bundle")
    registry.record("churn", "2", verdict_notes(registry.get("churn", "2"), PASS))
    return registry


def test_callers_of_the_champion_are_not_broken_unknowingly(demanding: FakeRegistry) -> None:
    promotion = decide(demanding)
    assert failing(promotion) == [CALLERS]
    (gate,) = (gate for gate in promotion.gates if gate.name == CALLERS)
    assert gate.figure == (
        "input frequency is required, could be left out; input channel is required, could be left out"
    )


def test_a_break_may_be_accepted_and_is_on_record(demanding: FakeRegistry) -> None:
    assert decide(demanding, overrides=[Override(CALLERS, "Ada", "told everybody")]).moved
    assert "told everybody" in demanding.notes["churn", "2"][OVERRIDES_NOTE]


def test_a_champion_that_cannot_be_read_breaks_callers_for_all_we_know(tmp_path: Path) -> None:
    registry = registry_with()
    registry.add("1", DIGESTS["1"], evidence("1"), BUNDLES["0"])
    promotion = decide(registry)
    assert failing(promotion) == [CALLERS]


def test_an_override_is_shown_and_on_record_and_lets_through() -> None:
    registry = registry_with(with_baseline(Interval(0.01, -0.001, 0.02)), audit=INCONCLUSIVE)
    answers = [Override(name, "Ada", "few customers") for name in ("beats prior", AUDIT)]
    promotion = decide(registry, overrides=answers)
    assert promotion.moved
    assert promotion.overrides == tuple(answers)
    assert [gate.verdict for gate in promotion.gates if not gate.passed] == ["overridden by Ada"] * 2
    assert json.loads(registry.notes["churn", "2"][OVERRIDES_NOTE]) == [
        {"gate": "beats prior", "by": "Ada", "reason": "few customers"},
        {"gate": AUDIT, "by": "Ada", "reason": "few customers"},
    ]
    assert registry.notes["churn", "2"]["regulars.champion_why"] == (
        "overridden: beats prior (Ada), fairness audit (Ada); every other gate passed"
    )
    assert is_cleared(registry.get("churn", "2"))


def test_an_override_of_one_gate_helps_no_other() -> None:
    registry = registry_with(with_baseline(Interval(0.01, -0.001, 0.02)), audit=FAIL)
    before = state(registry)
    assert failing(decide(registry, overrides=[Override(AUDIT, "Ada", "policy")])) == ["beats prior"]
    assert state(registry) == before


def test_an_override_of_a_gate_that_passes_is_not_needed_and_not_recorded() -> None:
    registry = registry_with()
    assert decide(registry, overrides=[Override(AUDIT, "Ada", "to be safe")]).overrides == ()
    assert registry.notes["churn", "2"][OVERRIDES_NOTE] == "none"


def test_parity_is_never_overridden() -> None:
    registry = registry_with(evidence(parity=Parity({"rows": 1.0}, 1000, 1e-6)))
    before = state(registry)
    with pytest.raises(OverrideError, match="cannot be overridden"):
        decide(registry, overrides=[Override(PARITY, "Ada", "in a hurry")])
    assert state(registry) == before


def test_an_override_of_no_gate_names_those_there_are() -> None:
    with pytest.raises(OverrideError, match=r"no gate 'speed'; there are 'parity.*'memory', 'fairness audit'"):
        decide(registry_with(), overrides=[Override("speed", "Ada", "fast enough")])


def test_what_may_be_served_is_on_record_before_the_champion_moves() -> None:
    registry = registry_with(audit="")
    cleared: list[bool] = []
    registry.on_point = lambda alias: cleared.append(is_cleared(registry.get("churn", "2")))
    decide(registry, demands=Demands(AuditRule.OPTIONAL))
    assert cleared == [True, True]


def test_a_margin_lets_a_baseline_be_a_little_better() -> None:
    assert decide(registry_with(with_baseline(Interval(-0.01, -0.019, 0.0), margin=0.02))).moved


def test_every_gate_is_told_even_when_the_first_fails() -> None:
    candidate = evidence(parity=Parity({"rows": 1.0}, 1000, 1e-6))
    assert [gate.name for gate in decide(registry_with(candidate)).gates] == [
        "parity with the native model",
        "beats logistic regression",
        "beats prior",
        "observed expected",
        "not worse than the champion",
        "callers of the champion",
        "time for one customer",
        "time for 1,000 customers",
        "memory",
        "fairness audit",
    ]


def test_a_dry_run_judges_and_changes_nothing() -> None:
    registry = registry_with(audit=FAIL)
    before = state(registry)
    promotion = decide(registry, dry_run=True, overrides=[Override(AUDIT, "Ada", "policy")])
    assert promotion.passed
    assert not promotion.moved
    assert state(registry) == before


def test_the_first_version_needs_no_champion() -> None:
    registry = FakeRegistry()
    add(registry, "1", replace(evidence("1"), champion=None, champion_version=""))
    registry.place("candidate", "1")
    assert decide(registry).moved
    assert registry.moves == [("champion", "1")]


def test_a_named_version_is_judged_instead_of_the_candidate() -> None:
    registry = registry_with()
    add(registry, "3")
    assert decide(registry, "3").version.version == "3"
    assert registry.alias("champion") == "3"


def test_the_champion_again_moves_no_alias() -> None:
    registry = registry_with()
    decide(registry)
    registry.moves.clear()
    assert decide(registry).moved
    assert registry.moves == []
    assert registry.alias("previous") == "1"


def moved_by_hand(candidate: Evidence | None = None, audit: str = PASS) -> FakeRegistry:
    """Versions 0 and 1 were promoted, one after the other; somebody then moved the alias to version 2."""
    registry = registry_with(candidate, audit)
    for version in ("0", "1"):
        registry.record("churn", version, {SINCE_NOTE: f"2026-01-0{version}T00:00:00.000+00:00"})
    registry.place("champion", "2")
    return registry


def test_who_was_made_champion_by_hand_is_judged_against_the_last_that_was_promoted() -> None:
    worse = replace(evidence(), champion=Comparison("champion", "auc", WORSE))
    assert failing(decide(moved_by_hand(worse))) == ["not worse than the champion"]
    assert failing(decide(moved_by_hand(evidence(against="0")))) == ["not worse than the champion"]


def test_who_was_made_champion_by_hand_and_is_promoted_can_be_rolled_back_and_be_served() -> None:
    registry = moved_by_hand(audit="")
    assert not is_cleared(registry.get("churn", "2"))
    assert decide(registry, demands=Demands(AuditRule.OPTIONAL)).moved
    assert is_cleared(registry.get("churn", "2"))
    assert SINCE_NOTE in registry.notes["churn", "2"]
    assert (registry.alias("champion"), registry.alias("previous")) == ("2", "1")


def test_who_was_made_champion_by_hand_breaks_no_callers_unknowingly(demanding: FakeRegistry) -> None:
    demanding.record("churn", "1", {SINCE_NOTE: "2026-01-01T00:00:00.000+00:00"})
    demanding.place("champion", "2")
    assert failing(decide(demanding)) == [CALLERS]


def test_who_was_made_champion_by_hand_before_anybody_was_promoted_is_the_first_version() -> None:
    registry = registry_with()
    assert decide(registry, "1").moved
    assert registry.alias("previous") == "0"
    assert SINCE_NOTE in registry.notes["churn", "1"]


def test_another_version_with_the_bundle_of_the_champion_needs_no_comparison() -> None:
    registry = registry_with()
    add(registry, "3", replace(evidence("1"), champion=None), like="1")
    assert decide(registry, "3").moved


def test_evidence_of_another_bundle_is_refused() -> None:
    registry = registry_with(evidence(bundle_digest="9" * 64))
    with pytest.raises(RegistryError, match="evidence of churn version 2 is that of another bundle"):
        decide(registry)
    assert registry.moves == []


def test_a_bundle_other_than_the_registered_one_is_refused() -> None:
    registry = registry_with()
    registry.add("2", DIGESTS["2"], evidence(), BUNDLES["3"])
    with pytest.raises(BundleError, match="churn version 2 is not the bundle that was registered"):
        decide(registry)
    assert registry.moves == []


def test_a_bundle_that_no_server_would_load_is_refused(tmp_path: Path) -> None:
    def cost_of(folder: Path) -> Cost:
        raise BundleError("output churn_probability does not reproduce the bundle's golden rows; retrain")

    registry = registry_with()
    before = state(registry)
    with pytest.raises(BundleError, match="golden rows"):
        decide(registry, cost_of=cost_of)
    assert state(registry) == before


def test_without_a_candidate_the_error_says_what_to_run() -> None:
    with pytest.raises(RegistryError, match="no candidate; run 'regulars train churn'"):
        decide(FakeRegistry())


def test_a_champion_moved_while_the_candidate_was_judged_is_noticed_before_anything_changes() -> None:
    registry = registry_with()
    notes = deepcopy(registry.notes)
    registry.on_evidence = lambda: registry.place("champion", "0")
    with pytest.raises(RegistryError, match="was moved while its candidate was judged"):
        decide(registry)
    assert registry.moves == []
    assert (registry.notes, registry.attached) == (notes, {})
    assert registry.alias("champion") == "0"


def test_a_champion_moved_at_the_same_time_is_noticed() -> None:
    registry = registry_with()
    registry.on_point = lambda alias: registry.place("champion", "0") if alias == "champion" else None
    with pytest.raises(RegistryError, match="somebody else moved it"):
        decide(registry)
    assert SINCE_NOTE not in registry.notes["churn", "2"]


def test_a_failure_between_the_two_moves_leaves_the_champion() -> None:
    registry = registry_with()

    def fail(alias: str) -> None:
        registry.is_down = True

    registry.on_point = fail
    with pytest.raises(RegistryError):
        decide(registry)
    assert registry.alias("champion") == "1"


def test_a_promotion_that_failed_between_its_two_moves_is_finished_by_promoting_again() -> None:
    registry = registry_with()
    registry.on_point = lambda alias: setattr(registry, "is_down", True)
    with pytest.raises(RegistryError):
        decide(registry)
    registry.is_down, registry.on_point = False, lambda alias: None
    assert decide(registry).moved
    assert (registry.alias("champion"), registry.alias("previous")) == ("2", "1")


def test_a_promotion_that_cannot_be_recorded_moves_nothing() -> None:
    registry = registry_with()
    registry.on_record = lambda: setattr(registry, "is_down", True)
    with pytest.raises(RegistryError, match=r"^the registry does not answer"):
        decide(registry)
    assert (registry.alias("champion"), registry.alias("previous")) == ("1", "0")


def test_a_promotion_whose_last_notes_fail_says_that_the_champion_has_moved() -> None:
    registry = registry_with()
    registry.on_record = lambda: setattr(registry, "is_down", registry.alias("champion") == "2")
    with pytest.raises(RegistryError, match="version 2 of churn is champion now, but: the registry does not answer"):
        decide(registry)
    assert (registry.alias("champion"), registry.alias("previous")) == ("2", "1")


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    registry = registry_with()
    decide(registry)
    assert registry.notes["churn", "2"]["regulars.champion_by"] == f"uid {2**31 - 7}"


def test_a_rollback_exchanges_champion_and_previous_and_asks_no_gate() -> None:
    registry = registry_with()
    assert rollback(registry, "churn").version == "0"
    assert registry.downloads == 0
    assert (registry.alias("champion"), registry.alias("previous")) == ("0", "1")
    assert "rolled back" in registry.notes["churn", "0"]["regulars.champion_why"]
    assert rollback(registry, "churn").version == "1"
    assert (registry.alias("champion"), registry.alias("previous")) == ("1", "0")


def test_a_rollback_undoes_a_promotion() -> None:
    registry = registry_with()
    decide(registry)
    rollback(registry, "churn")
    assert (registry.alias("champion"), registry.alias("previous")) == ("1", "2")


def test_a_rollback_after_somebody_moved_the_alias_by_hand_goes_to_the_last_that_was_promoted() -> None:
    registry = moved_by_hand()
    assert rollback(registry, "churn").version == "1"
    assert (registry.alias("champion"), registry.alias("previous")) == ("1", "2")
    registry.place("champion", "0")
    assert rollback(registry, "churn").version == "1"
    # What a rollback leaves, too, that stopped half way: another one must not go forward again.
    registry.place("champion", "0")
    with pytest.raises(RegistryError, match="champion and previous"):
        rollback(registry, "churn")


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
    notes = deepcopy(registry.notes)

    def promoted(alias: str) -> None:
        registry.place("previous", "1")
        registry.place("champion", "2")

    registry.on_point = promoted
    with pytest.raises(RegistryError, match="somebody else moved it"):
        rollback(registry, "churn")
    assert (registry.alias("champion"), registry.alias("previous")) == ("2", "1")
    assert registry.notes == notes


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
