"""What an audit comes to, in words: the sentences that its page and the command share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.fairness import NOTHING_COMPARED
from audits.policy import MEANINGS
from audits.population import UNKNOWN
from audits.statistics import Verdict
from model_registry.page import interval, limit, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from audits.fairness import Breakdown, FairnessAudit, Finding, OutputAudit
    from audits.population import Partition
    from audits.report import Report
    from audits.statistics import Tolerance
    from features.sections import Waiver

MOST_NAMED = 5
"""Failures that the summary names."""

MOSTLY_UNKNOWN = 0.5
NOTHING = ""


def summary(report: Report) -> str:
    """What came out, in a sentence."""
    judged, verdicts = len(report.judged), report.verdicts
    if nothing_compared(report):
        return f"No group could be judged: it takes {_least(report)} in a group, and in the one it is compared with."
    if verdicts[Verdict.PASS] == judged:
        return f"All {judged:,} comparisons lie within the policy."
    return (
        f"Of {judged:,} comparisons {_none_or(verdicts[Verdict.FAIL])} lie outside the policy beyond doubt, "
        f"{_none_or(verdicts[Verdict.INCONCLUSIVE])} cannot be decided, and {_none_or(verdicts[Verdict.PASS])} pass."
    )


def advice(report: Report) -> str:
    """What to do."""
    if report.verdict == Verdict.PASS:
        return "Nothing."
    if report.verdict == Verdict.FAIL:
        return (
            "Do not promote this version before the failures are looked into. What could be done is told below. Or "
            "somebody answers for each of them by name, with a waiver that expires."
        )
    return (
        "Audit again when there are more customers, or at a date when there were. Or somebody answers for what is open "
        "by name, with a waiver that expires."
    )


def details(report: Report) -> Iterator[str]:
    """What else a reader must know before the tables."""
    failed = [one for one in report.audit.findings if one.verdict == Verdict.FAIL]
    for one in failed[:MOST_NAMED]:
        crossed = " (crossed groups)" if one.crossed else NOTHING
        yield (
            f"{titled(report, one.output, MEANINGS[one.metric])}: {interval(one.figure)} for {place(one)}{crossed}; "
            f"{tolerated(one.tolerance)} is tolerated."
        )
    if len(failed) > MOST_NAMED:
        yield f"{len(failed) - MOST_NAMED:,} more fail, as told below."
    if report.too_few_share and not nothing_compared(report):
        yield (
            f"{percent(report.too_few_share)} of the comparisons could not have been decided with so few customers, "
            "whatever the model is like."
        )
    small, cells = suppressed(report.audit)
    if small:
        yield f"{small:,} of {cells:,} groups are too small to be judged."
    silent = _not_judged(report)
    if silent and not nothing_compared(report):
        yield f"Nothing is said of {enumerated(silent)}: no group of these attributes could be judged."
    hidden = max(report.audit.population.attributes, key=lambda one: unknown_share(report, one))
    if unknown_share(report, hidden) > MOSTLY_UNKNOWN:
        yield (
            f"Of {percent(unknown_share(report, hidden))} of the customers the {hidden.name} is not known. What is "
            "said here holds for the others."
        )
    waived = sum(finding.waiver is not None for finding in report.audit.findings)
    if waived:
        yield f"Waived: {waived:,}. Who answers for them stands below."
    for waiver in report.audit.policy.expired:
        yield f"{told(waiver)} expired on {waiver.expires} and does not count."
    yield from report.remarks


def _not_judged(report: Report) -> list[str]:
    """Attributes without a single finding."""
    judged = {finding.attribute for finding in report.judged}
    return [one.name for one in report.audit.population.attributes if one.name not in judged]


def nothing_compared(report: Report) -> bool:
    """Whether no group of any output was large enough."""
    return all(finding.metric == NOTHING_COMPARED for finding in report.judged)


def suppressed(audit: FairnessAudit) -> tuple[int, int]:
    """Known groups that are too small, and all of them; of attributes alone, for every output."""
    cells = [cell for output in audit.outputs for one in alone(output) for cell in one.cells if cell.group != UNKNOWN]
    return sum(not cell.enough for cell in cells), len(cells)


def unknown_share(report: Report, partition: Partition) -> float:
    """The share of customers of whom an attribute is not known."""
    return len(partition.rows(UNKNOWN)) / len(report.audit.population) if UNKNOWN in partition.groups else 0.0


def alone(output: OutputAudit) -> list[Breakdown]:
    """Attributes by themselves, without the crossings."""
    return [one for one in output.breakdowns if not one.partition.crossed]


def titled(report: Report, output: str, text: str) -> str:
    """Says which output is meant, where there are several."""
    titles = {one.yardstick.name: one.yardstick.title for one in report.audit.outputs}
    return f"{titles[output]}: {text[0].lower()}{text[1:]}" if len(titles) > 1 else text


def place(finding: Finding) -> str:
    """Whom a finding is of."""
    part = f", {finding.part}" if finding.part else NOTHING
    return f"{finding.attribute}: {finding.group}{part}" if finding.group else finding.attribute


def tolerated(tolerance: Tolerance | None) -> str:
    """What a policy tolerates, in words."""
    if tolerance is None:
        return NOTHING
    if tolerance.low == tolerance.ideal:
        return f"at most {limit(tolerance.high)}"
    return f"{limit(round(tolerance.low, 4))} to {limit(round(tolerance.high, 4))}"


def told(waiver: Waiver) -> str:
    """A waiver in words."""
    return f"The waiver of {waiver.finding} by {waiver.by} ({waiver.reason})"


def enumerated(names: Sequence[str]) -> str:
    """Names in a row, as a person says them."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else NOTHING.join(names)


def _least(report: Report) -> str:
    return enumerated(list(dict.fromkeys(output.yardstick.least for output in report.audit.outputs)))


def _none_or(count: int) -> str:
    return f"{count:,}" if count else "none"
