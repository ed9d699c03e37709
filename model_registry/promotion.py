"""Promotion: evidence in, a table of gates out, aliases moved only when every gate passes."""

from __future__ import annotations

import getpass
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_registry.registry import CANDIDATE, CHAMPION, PREVIOUS, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_registry.evidence import Comparison, Evidence, Requirement
    from model_registry.registry import RegisteredVersion, Registry

NON_INFERIORITY_MARGIN = 0.01
"""How far below the champion the interval's lower end may reach. On a few thousand customers two fits of one
model differ by less; a real loss of ranking differs by more."""


@dataclass(frozen=True)
class Gate:
    """One row of the promotion table."""

    name: str
    limit: str
    figure: str
    passed: bool


@dataclass(frozen=True)
class Promotion:
    """A decided promotion: `moved` says whether it made the version champion, or found it to be champion already."""

    version: RegisteredVersion
    gates: tuple[Gate, ...]
    moved: bool

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)


def judge(evidence: Evidence, champion: RegisteredVersion | None) -> tuple[Gate, ...]:
    """Every gate, whether it passes or not."""
    parity = evidence.parity
    return (
        Gate(
            "parity with the native model",
            f"<= {parity.limit:.0e}",
            f"{parity.largest:.1e} on {parity.rows:,} rows",
            parity.passed,
        ),
        *_baseline_gates(evidence),
        *(_requirement_gate(requirement) for requirement in evidence.requirements),
        _champion_gate(evidence, champion),
    )


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


def promote(registry: Registry, name: str, version: str = "", *, dry_run: bool = False) -> Promotion:
    """Judges a version (the candidate unless `version` is given) and, if every gate passes, makes it champion.

    `previous` moves before `champion`, so a failure between the two leaves the champion where it was, and promoting
    again finishes the work. A registry moves aliases unconditionally: of two promotions within the same moment the
    later one wins, the other is told so if its move is gone when it looks again, and the champion may then have been
    judged against the version before.

    Raises:
        RegistryError: nothing to promote, evidence of another bundle, somebody else promotes at the same time, or
            the registry fails; the text says so where the version is champion all the same.
    """
    candidate = registry.get(name, version) if version else registry.resolve(name, CANDIDATE)
    if candidate is None:
        raise RegistryError(f"{name} has no candidate; run 'regulars train {name}' or give --version")
    champion = registry.resolve(name, CHAMPION)
    evidence = registry.evidence(candidate)
    if evidence.bundle_digest != candidate.digest:
        raise RegistryError(
            f"the evidence of {name} version {candidate.version} is that of another bundle; train {name} again"
        )
    gates = judge(evidence, champion)
    promotion = Promotion(candidate, gates, moved=False)
    if dry_run or not promotion.passed:
        return promotion
    if champion is None or champion.version != candidate.version:
        _refuse_moved(registry, name, champion)
        if champion is not None:
            registry.point(name, PREVIOUS, champion.version)
        _move_champion(registry, candidate)
        _record_champion(registry, candidate, why="every gate passed")
    return Promotion(candidate, gates, moved=True)


def rollback(registry: Registry, name: str) -> RegisteredVersion:
    """Makes the previous champion champion again; the version rolled back becomes `previous`.

    `champion` moves first: that is what a rollback is for.

    Raises:
        RegistryError: there is no previous champion, or it is champion already, or the registry fails; the text says
            so where the rollback took place all the same.
    """
    previous = registry.resolve(name, PREVIOUS)
    if previous is None:
        raise RegistryError(f"{name} has no previous champion to roll back to; see 'regulars models'")
    champion = registry.resolve(name, CHAMPION)
    if champion is not None and champion.version == previous.version:
        raise RegistryError(
            f"version {champion.version} of {name} is champion and previous, as a promotion or a rollback leaves them "
            f"that stopped half way; run 'regulars promote {name}', or point {PREVIOUS} at a version in the registry"
        )
    _move_champion(registry, previous)
    if champion is not None:
        with _although_champion(previous):
            registry.point(name, PREVIOUS, champion.version)
    _record_champion(registry, previous, why="rolled back to")
    return previous


def _refuse_moved(registry: Registry, name: str, judged: RegisteredVersion | None) -> None:
    """Raises RegistryError if the champion is no longer the one that the gates were judged against."""
    now = registry.resolve(name, CHAMPION)
    if (now and now.version) != (judged and judged.version):
        raise RegistryError(f"the champion of {name} was moved while its candidate was judged; promote again")


def _move_champion(registry: Registry, version: RegisteredVersion) -> None:
    registry.point(version.name, CHAMPION, version.version)
    settled = registry.resolve(version.name, CHAMPION)
    if settled is None or settled.version != version.version:
        raise RegistryError(
            f"{version.name}: the alias {CHAMPION} does not stand at version {version.version} after it was moved; "
            "somebody else moved it at the same time: see 'regulars models'"
        )


def _record_champion(registry: Registry, version: RegisteredVersion, why: str) -> None:
    notes = {
        "regulars.champion_since": datetime.now(UTC).isoformat(timespec="seconds"),
        "regulars.champion_by": _user(),
        "regulars.champion_why": why,
    }
    with _although_champion(version):
        registry.record(version.name, version.version, notes)


@contextmanager
def _although_champion(version: RegisteredVersion) -> Iterator[None]:
    """A failure after the champion has moved says that it has."""
    try:
        yield
    except RegistryError as error:
        raise RegistryError(f"version {version.version} of {version.name} is champion now, but: {error}") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that has no name.
        return f"uid {os.getuid()}"
