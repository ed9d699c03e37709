"""The gates of a promotion: each a claim, the limit it is held to, the figure, and whether it passes.

None of them asks the registry or moves anything; `promotion` does both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from model_registry.budget import TABLE_ROWS
from model_registry.clearance import FAIL, PASS, audit_verdict, waived_until, waiver_has_expired
from model_registry.registry import CANDIDATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_registry.budget import Budget, Cost
    from model_registry.evidence import Comparison, Evidence, Requirement
    from model_registry.registry import RegisteredVersion

PARITY = "parity with the native model"
CALLERS = "callers of the champion"
AUDIT = "fairness audit"

NON_INFERIORITY_MARGIN = 0.01
"""How far below the champion the interval's lower end may reach. On a few thousand customers two fits of one
model differ by less; a real loss of ranking differs by more."""


class AuditRule(Enum):
    """What a project demands of fairness audits.

    `OPTIONAL` tolerates that nothing is known, not that something is known and bad: an audit that failed refuses.
    """

    REQUIRED = "required"
    OPTIONAL = "optional"
    NOTHING_TO_COMPARE = "nothing to compare"


class OverrideError(Exception):
    """An override that is not possible. Says which ones are."""


@dataclass(frozen=True)
class Override:
    """Somebody answers for a gate that fails: its name, theirs, and the reason."""

    gate: str
    by: str
    reason: str


@dataclass(frozen=True)
class Gate:
    """One row of the promotion table. `override` stands where it fails and somebody answers for that."""

    name: str
    limit: str
    figure: str
    passed: bool
    override: Override | None = None

    @property
    def opens(self) -> bool:
        """Whether it lets the version through."""
        return self.passed or self.override is not None

    @property
    def verdict(self) -> str:
        if self.passed:
            return "pass"
        return f"overridden by {self.override.by}" if self.override else "FAIL"


def evidence_gates(evidence: Evidence, champion: RegisteredVersion | None) -> tuple[Gate, ...]:
    """What training has shown: the certified graph, the simple rules, the requirements, the champion."""
    parity = evidence.parity
    return (
        Gate(PARITY, f"<= {parity.limit:.0e}", f"{parity.largest:.1e} on {parity.rows:,} rows", parity.passed),
        *_baseline_gates(evidence),
        *(_requirement_gate(requirement) for requirement in evidence.requirements),
        _champion_gate(evidence, champion),
    )


def callers_gate(broken: Iterable[str] | None, champion: RegisteredVersion | None) -> Gate:
    """Whether those who call the champion can call this version; `broken` is None where nobody can tell."""
    limit = "can call it unchanged"
    if champion is None:
        return Gate(CALLERS, limit, "none yet", passed=True)
    if broken is None:
        return Gate(CALLERS, limit, f"the bundle of version {champion.version} cannot be read", passed=False)
    stumbles = "; ".join(broken)
    return Gate(CALLERS, limit, stumbles or "nothing changes for them", passed=not stumbles)


def budget_gates(cost: Cost, budget: Budget) -> tuple[Gate, ...]:
    """Whether a server can afford the bundle."""
    return (
        Gate(
            "time for one customer",
            f"median at most {budget.row_milliseconds:g} ms",
            f"{cost.row_milliseconds:.3f} ms, p99 {cost.row_p99_milliseconds:.3f} ms",
            cost.row_milliseconds <= budget.row_milliseconds,
        ),
        Gate(
            f"time for {TABLE_ROWS:,} customers",
            f"at most {budget.table_milliseconds:g} ms",
            f"{cost.table_milliseconds:.1f} ms",
            cost.table_milliseconds <= budget.table_milliseconds,
        ),
        Gate(
            "memory",
            f"at most {budget.megabytes:g} MB",
            f"{cost.megabytes:.1f} MB",
            cost.megabytes <= budget.megabytes,
        ),
    )


def audit_gate(version: RegisteredVersion, rule: AuditRule) -> Gate:
    """Whether groups of customers have been compared, and came off alike."""
    verdict = audit_verdict(version)
    figure = f"{verdict}{_waivers(version)}"
    if rule is AuditRule.REQUIRED:
        return Gate(AUDIT, PASS, figure or f"not audited: run {_audit_command(version)}", verdict == PASS)
    unknown = "no sensitive attribute is mapped" if rule is AuditRule.NOTHING_TO_COMPARE else "not audited"
    return Gate(AUDIT, f"not {FAIL}", figure or unknown, verdict != FAIL)


def overridden(gates: Iterable[Gate], overrides: Iterable[Override]) -> tuple[Gate, ...]:
    """The gates, with the overrides beside those that fail.

    Raises:
        OverrideError: a gate that does not stand there, or parity: a graph that is not the model is not a model.
    """
    told = tuple(gates)
    answering = {override.gate: override for override in overrides}
    names = [gate.name for gate in told]
    for name in answering:
        if name == PARITY:
            raise OverrideError(f"{PARITY} cannot be overridden: the graph would not be the model; train again")
        if name not in names:
            raise OverrideError(f"there is no gate '{name}'; there are {', '.join(map(repr, names))}")
    return tuple(gate if gate.passed else replace(gate, override=answering.get(gate.name)) for gate in told)


def _waivers(version: RegisteredVersion) -> str:
    """What the verdict hangs on, or hung on, in words that follow it."""
    until = waived_until(version)
    if waiver_has_expired(version):
        return f": a waiver expired on {until}, run {_audit_command(version)} again"
    return f", waived until {until}" if until else ""


def _audit_command(version: RegisteredVersion) -> str:
    reference = CANDIDATE if CANDIDATE in version.aliases else version.version
    return f"'regulars audit fairness {version.name}@{reference}'"


def _baseline_gates(evidence: Evidence) -> tuple[Gate, ...]:
    if not evidence.baselines:
        return (Gate("beats a baseline", "at least one", "none was measured: train again", passed=False),)
    return tuple(_baseline_gate(comparison) for comparison in evidence.baselines)


def _baseline_gate(comparison: Comparison) -> Gate:
    claim, limit = ("not worse than", f"-{comparison.margin}") if comparison.margin else ("beats", "0")
    return Gate(
        f"{claim} {comparison.other}",
        f"{comparison.metric} difference, interval above {limit}",
        str(comparison.difference),
        comparison.passed,
    )


def _requirement_gate(requirement: Requirement) -> Gate:
    parts = (
        f"at least {requirement.low:g}" if requirement.low is not None else "",
        f"at most {requirement.high:g}" if requirement.high is not None else "",
    )
    limit = ", ".join(part for part in parts if part)
    return Gate(requirement.metric.replace("_", " "), limit, f"{requirement.figure:.4f}", requirement.passed)


def _champion_gate(evidence: Evidence, champion: RegisteredVersion | None) -> Gate:
    name = "not worse than the champion"
    if champion is None:
        return Gate(name, "none yet", "first version", passed=True)
    if champion.digest == evidence.bundle_digest:
        return Gate(name, "the same bundle", "is the champion", passed=True)
    limit = f"interval above -{NON_INFERIORITY_MARGIN}"
    comparison = evidence.champion
    if comparison is None or evidence.champion_version != champion.version:
        figure = f"not compared with version {champion.version}: train again, or name a version that was"
        return Gate(name, limit, figure, passed=False)
    return Gate(
        name,
        f"{comparison.metric} difference, {limit}",
        str(comparison.difference),
        comparison.difference.low > -NON_INFERIORITY_MARGIN,
    )
