"""What an audit leaves behind: the facts of its report, and their form for machines."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from audits.statistics import Verdict

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from audits.fairness import Breakdown, FairnessAudit, Finding, OutputAudit
    from audits.mitigation import Option
    from audits.refit import Refit, Telling, Trial
    from features.sections import Waiver
    from model_registry.evidence import Interval


ATTACHED = "audits/fairness"
"""Where a run keeps its fairness audits, each under the date of its snapshot."""


@dataclass(frozen=True)
class Rival:
    """The champion, audited on the same day; `reason` says why there is no audit of it to compare with."""

    version: str
    audit: FairnessAudit | None
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """A fairness audit of one registered version. `remarks` are what a reader should know besides."""

    business: str
    model: str
    version: str
    audited_on: dt.date
    audit: FairnessAudit
    champion: Rival | None = None
    remarks: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return self.audit.verdict

    @property
    def place(self) -> str:
        """Where the run keeps it."""
        return f"{ATTACHED}/{self.audit.population.date}"

    @property
    def judged(self) -> tuple[Finding, ...]:
        """The findings of groups; those of crossed groups are only searched."""
        return tuple(finding for finding in self.audit.findings if not finding.crossed)

    @property
    def searched(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.audit.findings if finding.crossed)

    @property
    def verdicts(self) -> Counter[Verdict]:
        """How many of the judged findings have each verdict, waived ones too."""
        return Counter(finding.verdict for finding in self.judged)

    @property
    def too_few_share(self) -> float:
        """The share of the judged findings that so few customers could not have decided, whatever the model."""
        return sum(finding.too_few for finding in self.judged) / max(1, len(self.judged))

    def to_json(self) -> dict[str, Any]:
        """Everything, in numbers; what is no number is null."""
        audit, manifest = self.audit, self.audit.population.manifest
        content = {
            "business": self.business,
            "model": self.model,
            "version": self.version,
            "audited_on": self.audited_on.isoformat(),
            "verdict": self.verdict.value,
            "counts": {verdict.value: self.verdicts[verdict] for verdict in Verdict},
            "share_undecided_for_want_of_customers": self.too_few_share,
            "findings": [_finding(finding) for finding in audit.findings],
            "outputs": [_output(output) for output in audit.outputs],
            "tellings": [_telling(one) for one in audit.tellings],
            "population": {
                "snapshot": audit.population.date.isoformat(),
                "horizon_days": audit.population.horizon_days,
                "customers": len(audit.population),
                "not_scored": dict(audit.population.excluded),
                "digest": audit.population.digest,
            },
            "policy": {
                "digest": audit.policy.digest,
                "top_share": audit.policy.top_share,
                "minimum_outcomes": audit.policy.minimum_outcomes,
                "minimum_customers": audit.policy.minimum_customers,
                "tolerances": {name: asdict(limits) for name, limits in audit.policy.tolerances.items()},
            },
            "waivers": {
                "counting": [_waiver(waiver) for waiver in audit.policy.waivers],
                "expired": [_waiver(waiver) for waiver in audit.policy.expired],
                "unused": [waiver.finding for waiver in audit.unused_waivers],
            },
            "champion": _rival(self.champion),
            "bundle_digest": audit.population.bundle_digest,
            "dataset_digest": manifest.dataset_digest,
            "remarks": list(self.remarks),
        }
        return {name: _finite(value) for name, value in content.items()}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "metric": finding.metric,
        "part": finding.part,
        "attribute": finding.attribute,
        "group": finding.group,
        "crossed": finding.crossed,
        "customers": finding.customers,
        "figure": asdict(finding.figure),
        "tolerance": asdict(finding.tolerance) if finding.tolerance else None,
        "verdict": finding.verdict.value,
        "p_value": finding.p_value,
        "growth": finding.growth,
        "blocks": finding.blocks,
        "waiver": _waiver(finding.waiver) if finding.waiver else None,
    }


def _output(output: OutputAudit) -> dict[str, Any]:
    return {
        "name": output.yardstick.name,
        "everybody": _figures(output.everybody),
        "breakdowns": [_breakdown(breakdown) for breakdown in output.breakdowns],
        "options": [_option(option) for option in output.options],
        "refits": [_refit(refit) for refit in output.refits],
    }


def _breakdown(breakdown: Breakdown) -> dict[str, Any]:
    partition = breakdown.partition
    return {
        "attribute": partition.name,
        "crossed": partition.crossed,
        "reference": partition.reference,
        "banding": partition.banding,
        "chance": dict(breakdown.chance),
        "groups": [
            {
                "group": cell.group,
                "suppressed": not cell.enough,
                "counts": {"customers": cell.counts["customers"]} if not cell.enough else dict(cell.counts),
                "figures": _figures(cell.figures),
            }
            for cell in breakdown.cells
        ],
    }


def _option(option: Option) -> dict[str, Any]:
    return {
        "metric": option.metric,
        "attribute": option.attribute,
        "title": option.title,
        "lines": dict(option.lines),
        "effects": _pairs(option.effects),
        "cost": _pairs(option.cost),
    }


def _pairs(figures: Mapping[str, tuple[Interval, Interval]]) -> dict[str, Any]:
    return {name: {"before": asdict(before), "after": asdict(after)} for name, (before, after) in figures.items()}


def _refit(refit: Refit) -> dict[str, Any]:
    return {
        "metric": refit.metric,
        "attribute": refit.attribute,
        "learner": refit.learner,
        "without": list(refit.without),
        "effects": _trials(refit.effects),
        "quality": _trials(refit.quality),
    }


def _trials(trials: Mapping[str, Trial]) -> dict[str, Any]:
    return {name: asdict(trial) for name, trial in trials.items()}


def _telling(telling: Telling) -> dict[str, Any]:
    return {
        "attribute": telling.attribute,
        "group": telling.group,
        "auc_of_all_inputs": asdict(telling.together),
        "auc_by_input": dict(telling.alone),
    }


def _rival(rival: Rival | None) -> dict[str, Any] | None:
    if rival is None:
        return None
    findings = [_finding(finding) for finding in rival.audit.findings] if rival.audit else []
    verdict = rival.audit.verdict.value if rival.audit else None
    return {"version": rival.version, "verdict": verdict, "reason": rival.reason, "findings": findings}


def _figures(figures: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: asdict(figure) for name, figure in figures.items()}


def _waiver(waiver: Waiver) -> dict[str, str]:
    return {**asdict(waiver), "expires": waiver.expires.isoformat()}


def _finite(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """The same without numbers that JSON does not know."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
