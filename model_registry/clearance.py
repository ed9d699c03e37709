"""Whether a version may be served: what its fairness audit came to, and what a promotion made of that.

Both stand as notes on the version, each beside the digest of the bundle that it speaks of, so they go where the version
goes: a follower of an alias needs neither the project nor its tables. They keep people from serving by mistake what
nobody audited. Who may write to the registry may write notes too; against them they keep nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_registry.registry import RegisteredVersion

PASS = "PASS"  # noqa: S105 - a verdict, no password
FAIL = "FAIL"
INCONCLUSIVE = "INCONCLUSIVE"

VERDICT_NOTE = "regulars.fairness_verdict"
AUDITED_BUNDLE_NOTE = "regulars.fairness_bundle"
WAIVED_UNTIL_NOTE = "regulars.fairness_waived_until"
UNWAIVED_NOTE = "regulars.fairness_verdict_unwaived"

CLEARED_NOTE = "regulars.cleared"
CLEARED_BUNDLE_NOTE = "regulars.cleared_bundle"


NO_WAIVER = "none"


@dataclass(frozen=True)
class Waived:
    """What a verdict would be without the waivers that it hangs on, the first of which expires on the day `until`."""

    verdict: str
    until: dt.date


def audit_verdict(version: RegisteredVersion) -> str:
    """The verdict of the fairness audit of this very bundle; empty where there was none.

    Where a waiver that it hung on has expired, it is what was found without waivers.
    """
    if not _is_audited(version):
        return ""
    return version.notes.get(UNWAIVED_NOTE if waiver_has_expired(version) else VERDICT_NOTE, "")


def waived_until(version: RegisteredVersion) -> str:
    """The day (ISO) from which a waiver counts no more that the verdict hangs on; empty where it hangs on none."""
    until = version.notes.get(WAIVED_UNTIL_NOTE, NO_WAIVER) if _is_audited(version) else NO_WAIVER
    return "" if until == NO_WAIVER else until


def waiver_has_expired(version: RegisteredVersion) -> bool:
    """Whether a waiver that the verdict hung on has expired since the audit."""
    until = waived_until(version)
    return bool(until) and until <= dt.datetime.now(tz=dt.UTC).date().isoformat()


def verdict_notes(version: RegisteredVersion, verdict: str, waived: Waived | None = None) -> dict[str, str]:
    """What an audit records; `waived` where its verdict hangs on waivers."""
    # In this order: a registry that fails in between leaves no verdict without what it hangs on.
    return {
        UNWAIVED_NOTE: waived.verdict if waived else verdict,
        WAIVED_UNTIL_NOTE: waived.until.isoformat() if waived else NO_WAIVER,
        VERDICT_NOTE: verdict,
        AUDITED_BUNDLE_NOTE: version.digest,
    }


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


def _is_audited(version: RegisteredVersion) -> bool:
    return version.notes.get(AUDITED_BUNDLE_NOTE) == version.digest
