"""What an audit tolerates, and what somebody answers for: `[audits]` of the project file, made ready."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from audits.statistics import Tolerance, Verdict

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from features.sections import Audits, Waiver

TPR_GAP = "tpr_gap"
OBSERVED_EXPECTED = "observed_expected"
EXPOSURE_RATIO = "exposure_ratio"
TOTAL_RATIO = "total_ratio"
ERROR_RATIO = "error_ratio"
CLUSTER_RATIO = "cluster_ratio"
CRAMERS_V = "cramers_v"

MEANINGS = {
    TPR_GAP: "Share of those with the outcome who are reached, less the reference group's",
    OBSERVED_EXPECTED: "Outcomes that happened, over those that the probabilities foresaw",
    EXPOSURE_RATIO: "Share of the group that is reached, over the reference group's",
    TOTAL_RATIO: "Revenue that was foreseen, over revenue that came",
    ERROR_RATIO: "Mean error per unit of revenue, over the reference group's",
    CLUSTER_RATIO: "Share of the group that is in the segment, over everybody's",
    CRAMERS_V: "How closely the segments go along with the attribute (Cramér's V)",
}
"""What each gated metric says, in words for the report."""


@dataclass(frozen=True)
class Policy:
    """The policy for one model on one day; see `features.sections.Audits` for the first three.

    `tolerances` are by metric. `waivers` count today, `expired` do no more.
    """

    top_share: float
    minimum_outcomes: int
    minimum_customers: int
    tolerances: Mapping[str, Tolerance]
    waivers: tuple[Waiver, ...] = ()
    expired: tuple[Waiver, ...] = ()

    @classmethod
    def of(cls, written: Audits, waivers: Iterable[Waiver], model: str, today: dt.date) -> Policy:
        """What a project file says for `model`."""
        own = [waiver for waiver in waivers if waiver.model == model]
        return cls(
            top_share=written.top_share,
            minimum_outcomes=written.minimum_outcomes,
            minimum_customers=written.minimum_customers,
            tolerances=_tolerances(written),
            waivers=tuple(waiver for waiver in own if today < waiver.expires),
            expired=tuple(waiver for waiver in own if waiver.expires <= today),
        )

    def waiver(self, finding: str, verdict: Verdict) -> Waiver | None:
        """Who answers for a finding, if anybody does.

        What is undecided is waived by the beginning of its name too: it is one lack of customers that leaves many
        findings open. A failure must be named in full, so that nobody answers for one that came later.
        """
        for waiver in self.waivers:
            above = verdict == Verdict.INCONCLUSIVE and finding.startswith(f"{waiver.finding}/")
            if finding == waiver.finding or above:
                return waiver
        return None

    @property
    def digest(self) -> str:
        """SHA-256 of what is tolerated, waivers aside."""
        rules = (self.top_share, self.minimum_outcomes, self.minimum_customers)
        limits = {name: asdict(tolerance) for name, tolerance in self.tolerances.items()}
        return hashlib.sha256(json.dumps([rules, limits], sort_keys=True).encode()).hexdigest()


def _tolerances(written: Audits) -> dict[str, Tolerance]:
    return {
        TPR_GAP: Tolerance(-written.tpr_gap, 0.0, written.tpr_gap),
        OBSERVED_EXPECTED: _either_way(written.observed_expected),
        EXPOSURE_RATIO: _either_way(written.exposure_ratio),
        TOTAL_RATIO: Tolerance(1.0 - written.total_error, 1.0, 1.0 + written.total_error, ratio=True),
        ERROR_RATIO: _either_way(written.error_ratio),
        CLUSTER_RATIO: _either_way(written.cluster_ratio),
        CRAMERS_V: Tolerance(0.0, 0.0, written.cramers_v),
    }


def _either_way(share: float) -> Tolerance:
    """A ratio that may be as small as `share` or as large as one over it: the reference group may be worse off too."""
    return Tolerance(share, 1.0, 1.0 / share, ratio=True)
