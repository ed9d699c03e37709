"""Promotion: every gate judged, aliases moved only when all of them let the version through, and why, on record."""

from __future__ import annotations

import getpass
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from model_registry.budget import Budget, measure
from model_registry.bundle import BundleError, read_bundle
from model_registry.clearance import clearance_notes
from model_registry.compatibility import breaks
from model_registry.gates import (
    AUDIT,
    AuditRule,
    audit_gate,
    budget_gates,
    callers_gate,
    evidence_gates,
    overridden,
)
from model_registry.registry import CANDIDATE, CHAMPION, PREVIOUS, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from model_registry.budget import Cost
    from model_registry.bundle import Bundle
    from model_registry.gates import Gate, Override
    from model_registry.registry import RegisteredVersion, Registry

REPORTS = "promotions"
"""Where a run keeps the reports of its version's promotions, each under its moment."""

SINCE_NOTE = "regulars.champion_since"
REPORT_NOTE = "regulars.promotion_report"
OVERRIDES_NOTE = "regulars.promotion_overrides"


@dataclass(frozen=True)
class Demands:
    """What a project demands of a champion beside the evidence of its training."""

    audit: AuditRule = AuditRule.REQUIRED
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True)
class Promotion:
    """A decided promotion: `moved` says whether it made the version champion, or found it to be champion already."""

    version: RegisteredVersion
    grade: str
    gates: tuple[Gate, ...]
    moved: bool

    @property
    def passed(self) -> bool:
        """Whether every gate passes, or somebody answers for it."""
        return all(gate.opens for gate in self.gates)

    @property
    def overrides(self) -> tuple[Override, ...]:
        return tuple(gate.override for gate in self.gates if gate.override)

    @property
    def why(self) -> str:
        """Why it was let through, in words."""
        told = ", ".join(f"{override.gate} ({override.by})" for override in self.overrides)
        return f"overridden: {told}; every other gate passed" if told else "every gate passed"

    def to_json(self) -> dict[str, object]:
        return {
            "model": self.version.name,
            "version": self.version.version,
            "bundle_digest": self.version.digest,
            "grade": self.grade,
            "gates": [{**asdict(gate), "verdict": gate.verdict} for gate in self.gates],
        }


def promote(
    registry: Registry,
    name: str,
    version: str = "",
    *,
    demands: Demands | None = None,
    overrides: Sequence[Override] = (),
    dry_run: bool = False,
    cost_of: Callable[[Path], Cost] = measure,
) -> Promotion:
    """Judges a version and, if every gate lets it through, makes it champion.

    What allows it to be served is on record before `champion` moves, and `previous` moves before `champion`: a failure
    in between leaves the champion where it was, and promoting again finishes the work. A registry moves aliases
    unconditionally: of two promotions within the same moment the later one wins, the other is told so if its move is
    gone when it looks again, and the champion may then have been judged against the version before.

    Args:
        registry: where versions live.
        name: the model.
        version: which one; the candidate unless given.
        demands: the project's; the strictest unless given.
        overrides: gates that somebody answers for, should they fail.
        dry_run: judge and change nothing.
        cost_of: what the bundle in a folder costs.

    Raises:
        RegistryError: nothing to promote, evidence of another bundle, somebody else promotes at the same time, or
            the registry fails; the text says so where the version is champion all the same.
        BundleError: the bundle is not the one that was registered, or no server would load it.
        OverrideError: an override that is not possible.
    """
    candidate = registry.get(name, version) if version else registry.resolve(name, CANDIDATE)
    if candidate is None:
        raise RegistryError(f"{name} has no candidate; run 'regulars train {name}' or give --version")
    champion = _predecessor(registry, candidate)
    evidence = registry.evidence(candidate)
    if evidence.bundle_digest != candidate.digest:
        raise RegistryError(
            f"the evidence of {name} version {candidate.version} is that of another bundle; train {name} again"
        )
    demands = demands or Demands()
    gates = (
        *evidence_gates(evidence, champion),
        *_bundle_gates(registry, candidate, champion, demands.budget, cost_of),
        audit_gate(candidate, demands.audit),
    )
    promotion = Promotion(candidate, evidence.grade, overridden(gates, overrides), moved=False)
    if dry_run or not promotion.passed:
        return promotion
    _refuse_moved(registry, candidate, champion)
    _record_decision(registry, promotion, champion)
    if not _are_same(champion, candidate):
        if champion is not None:
            registry.point(name, PREVIOUS, champion.version)
        _move_champion(registry, candidate)
        _record_champion(registry, candidate, why=promotion.why)
    return replace(promotion, moved=True)


def _bundle_gates(
    registry: Registry,
    candidate: RegisteredVersion,
    champion: RegisteredVersion | None,
    budget: Budget,
    cost_of: Callable[[Path], Cost],
) -> tuple[Gate, ...]:
    """What the bundle itself shows: that callers may stay as they are, and what it costs."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = _download(registry, candidate, Path(folder) / "candidate")
        broken = _breaks(registry, champion, bundle, Path(folder) / "champion") if champion else ()
        cost = cost_of(Path(folder) / "candidate")
    return callers_gate(broken, champion), *budget_gates(cost, budget)


def _breaks(registry: Registry, champion: RegisteredVersion, bundle: Bundle, folder: Path) -> tuple[str, ...] | None:
    """What callers of the champion would stumble over; None where it cannot be read."""
    if champion.digest == bundle.digest:
        return ()
    try:
        return breaks(_download(registry, champion, folder).manifest, bundle.manifest)
    except BundleError:
        return None


def _download(registry: Registry, version: RegisteredVersion, folder: Path) -> Bundle:
    """The version's bundle, which then lies in `folder`."""
    registry.download_bundle(version, folder.parent).rename(folder)
    bundle = read_bundle(folder)
    if bundle.digest != version.digest:
        raise BundleError(
            f"what was downloaded for {version.name} version {version.version} is not the bundle that was registered; "
            f"train {version.name} again"
        )
    return bundle


def rollback(registry: Registry, name: str) -> RegisteredVersion:
    """Makes the previous champion champion again; the version rolled back becomes `previous`.

    `champion` moves first: that is what a rollback is for. Where somebody moved it past promotions, as in MLflow's own
    pages, the champion before is the last that was promoted, which `previous` does not tell.

    Raises:
        RegistryError: there is no previous champion, or it is champion already, or the registry fails; the text says
            so where the rollback took place all the same.
    """
    champion = registry.resolve(name, CHAMPION)
    previous = _champion_before(registry, name, champion)
    if previous is None:
        raise RegistryError(f"{name} has no previous champion to roll back to; see 'regulars models'")
    if _are_same(champion, previous):
        raise RegistryError(
            f"version {previous.version} of {name} is champion and previous, as a promotion or a rollback leaves them "
            f"that stopped half way, or somebody who moved {CHAMPION} by hand; run 'regulars promote {name}', or point "
            f"{PREVIOUS} at a version in the registry"
        )
    _move_champion(registry, previous)
    if champion is not None:
        with _although_champion(previous):
            registry.point(name, PREVIOUS, champion.version)
    _record_champion(registry, previous, why="rolled back to")
    return previous


def _predecessor(registry: Registry, candidate: RegisteredVersion) -> RegisteredVersion | None:
    """The champion whose place a version takes: the one of the registry, which may be the version itself.

    An alias that somebody moved to it past every gate does not make it its own predecessor: that is the last champion
    that was promoted, or nobody.
    """
    champion = registry.resolve(candidate.name, CHAMPION)
    return _last_promoted(registry, candidate.name) if _are_same(champion, candidate) else champion


def _champion_before(registry: Registry, name: str, champion: RegisteredVersion | None) -> RegisteredVersion | None:
    """Where a rollback goes to: `previous`, or the last that was promoted where that is not the champion.

    All versions are read only where these two do not look like what promotions leave.
    """
    previous = registry.resolve(name, PREVIOUS)
    if champion is None or _are_same(champion, previous) or _since(champion) > _since(previous) > "":
        return previous
    last = _last_promoted(registry, name)
    return previous if last is None or _are_same(last, champion) else last


def _last_promoted(registry: Registry, name: str) -> RegisteredVersion | None:
    """The version that a promotion or a rollback made champion last."""
    return max(filter(_since, registry.versions(name)), key=_since, default=None)


def _since(version: RegisteredVersion | None) -> str:
    """When a promotion or a rollback made it champion; empty where none did. Sorts by time."""
    return version.notes.get(SINCE_NOTE, "") if version else ""


def _are_same(one: RegisteredVersion | None, other: RegisteredVersion | None) -> bool:
    """Whether they are one version; what is noted on it may have changed."""
    return (one and one.version) == (other and other.version)


def _refuse_moved(registry: Registry, candidate: RegisteredVersion, judged: RegisteredVersion | None) -> None:
    """Raises RegistryError if the champion is no longer the one that the gates were judged against."""
    if not _are_same(_predecessor(registry, candidate), judged):
        raise RegistryError(f"the champion of {candidate.name} was moved while its candidate was judged; promote again")


def _record_decision(registry: Registry, promotion: Promotion, champion: RegisteredVersion | None) -> None:
    """The report on the run, and on the version where it is, whose overrides it took, and that it may be served."""
    version, moment = promotion.version, datetime.now(UTC)
    report = f"{moment:%Y-%m-%dT%H%M%SZ}.json"
    content = {
        "decided_at": moment.isoformat(timespec="seconds"),
        "decided_by": user(),
        "champion_before": champion.version if champion else None,
        **promotion.to_json(),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / report).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        registry.attach(version, Path(folder), REPORTS)
    (audit,) = (gate for gate in promotion.gates if gate.name == AUDIT)
    told = [asdict(override) for override in promotion.overrides]
    notes = {REPORT_NOTE: f"{REPORTS}/{report}", OVERRIDES_NOTE: json.dumps(told) if told else "none"}
    cleared = f"{AUDIT}: {audit.figure}, {audit.verdict}"
    registry.record(version.name, version.version, notes | clearance_notes(version, cleared))


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
        SINCE_NOTE: datetime.now(UTC).isoformat(timespec="milliseconds"),
        "regulars.champion_by": user(),
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


def user() -> str:
    """Who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that has no name.
        return f"uid {os.getuid()}"
