"""Whether a version may be served: what its fairness audit came to, and what a promotion made of that.

Both stand as notes on the version, each beside the digest of the bundle that it speaks of, so they go where the version
goes: a follower of an alias needs neither the project nor its tables. They keep people from serving by mistake what
nobody audited. Who may write to the registry may write notes too; against them they keep nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_registry.registry import RegisteredVersion

PASS = "PASS"  # noqa: S105 - a verdict, no password
FAIL = "FAIL"
INCONCLUSIVE = "INCONCLUSIVE"

VERDICT_NOTE = "regulars.fairness_verdict"
AUDITED_BUNDLE_NOTE = "regulars.fairness_bundle"

CLEARED_NOTE = "regulars.cleared"
CLEARED_BUNDLE_NOTE = "regulars.cleared_bundle"


def audit_verdict(version: RegisteredVersion) -> str:
    """The verdict of the fairness audit of this very bundle; empty where there was none."""
    if version.notes.get(AUDITED_BUNDLE_NOTE) != version.digest:
        return ""
    return version.notes.get(VERDICT_NOTE, "")


def verdict_notes(version: RegisteredVersion, verdict: str) -> dict[str, str]:
    """What an audit records."""
    return {VERDICT_NOTE: verdict, AUDITED_BUNDLE_NOTE: version.digest}


def clearance_notes(version: RegisteredVersion, why: str) -> dict[str, str]:
    """What a promotion records when the audit did not stand in its way."""
    return {CLEARED_NOTE: why, CLEARED_BUNDLE_NOTE: version.digest}


def is_cleared(version: RegisteredVersion, *, allow_unaudited: bool = False) -> bool:
    """Whether the version may be served: a promotion let it through, or its audit passed.

    A promotion counts whatever a later audit says: taking back what is served is for people to decide, by a rollback,
    and not for the next server that happens to start. `allow_unaudited` tolerates that nothing is known, not that
    something is known and bad.
    """
    if version.notes.get(CLEARED_BUNDLE_NOTE) == version.digest:
        return True
    verdict = audit_verdict(version)
    return verdict == PASS or (allow_unaudited and verdict != FAIL)
