"""A fairness audit as a page for people: what was compared, what came out, what to do, and how far to trust it."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import TYPE_CHECKING

from audits.fairness import NOTHING_COMPARED
from audits.forest import Row, deviations, rates
from audits.policy import MEANINGS
from audits.reach import REACHED
from audits.remedies_page import remedies, stacked_share
from audits.segment import KEPT
from audits.statistics import ALPHA, Verdict
from audits.wording import (
    NOTHING,
    advice,
    alone,
    details,
    enumerated,
    place,
    summary,
    suppressed,
    titled,
    told,
    tolerated,
    unknown_share,
)
from model_registry.page import (
    bullets,
    code,
    element,
    figure,
    grouped_table,
    heading,
    interval,
    joined,
    number,
    page,
    paragraph,
    percent,
    sections,
    stacked,
    strong,
    subsection,
    table,
    tiles,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from audits.fairness import Breakdown, Cell, Finding, OutputAudit
    from audits.population import Partition
    from audits.report import Report
    from model_registry.evidence import Interval
    from model_registry.page import Html

SHORT_DIGEST = 12
MOST_DRAWN = 60
"""Figures in one drawing; of more, those farthest from what is ideal."""

WAIVED_DAYS = 90
"""How long the waiver lasts that the page suggests."""

MOST_TIMES = 100.0
"""Customers that it takes, over those there are, beyond which a number says no more."""

SHUFFLED = {REACHED: "Share reached", KEPT: "Share that keeps the segment"}
"""Shares that groups are shuffled by and not judged by, in words."""

ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def fairness_page(report: Report) -> str:
    """The page. It loads nothing and runs nothing."""
    title = f"{report.model} version {report.version}: fairness audit"
    population = report.audit.population
    return page(
        title,
        heading(title),
        paragraph(
            f"{report.business} · customers of {population.date} · audited on {report.audited_on} · bundle "
            f"{population.bundle_digest[:SHORT_DIGEST]}",
            soft=True,
        ),
        _summary(report),
        tiles(_facts(report)),
        sections(
            {
                "What decides": _findings(report),
                "How groups differ": joined(*(_differences(report, output) for output in report.audit.outputs)),
                "Who is reached": joined(*(_reached(report, output) for output in report.audit.outputs)),
                "Who keeps their segment": joined(*(_kept(report, output) for output in report.audit.outputs)),
                "What could be done": joined(*remedies(report)),
                "Every figure by group": joined(*(_figures(output) for output in report.audit.outputs)),
                "Two attributes crossed": _crossed(report),
                "Waivers": _waivers(report),
                "Against the champion": _against_champion(report),
                "Who was audited": _audited(report),
                "The policy": _policy(report),
                "How to read it": joined(*map(paragraph, _method())),
                "What it cannot tell": bullets(_limits()),
                "Provenance": _provenance(report),
            }
        ),
    )


def _summary(report: Report) -> Html:
    population = report.audit.population
    days = population.horizon_days
    compared = f"compared what it said with what they did in the {days} days that followed" if days else "compared them"
    names = [partition.name for partition in population.attributes]
    return joined(
        paragraph(
            f"Does the model treat groups of customers alike? This audit had the registered model score "
            f"{len(population):,} customers as of {population.date} and {compared}, group by group. The groups are "
            f"those of {enumerated(names)}. The model never sees these attributes."
        ),
        paragraph(strong("Verdict: "), _verdict(report.verdict), f". {summary(report)}"),
        bullets(details(report)),
        paragraph(strong("What to do: "), advice(report)),
    )


def _facts(report: Report) -> dict[str, str]:
    small, cells = suppressed(report.audit)
    return {
        "Verdict": _verdict(report.verdict),
        "Customers": f"{len(report.audit.population):,}",
        "Groups large enough": f"{cells - small:,} of {cells:,}",
        "Fail, undecided, pass": ", ".join(f"{report.verdicts[one]:,}" for one in ORDER),
    }


def _findings(report: Report) -> Html:
    by_metric: dict[str, list[Sequence[str]]] = {}
    for finding in sorted(report.judged, key=lambda one: ORDER.index(one.verdict)):
        if finding.metric != NOTHING_COMPARED:
            title = titled(report, finding.output, MEANINGS[finding.metric])
            by_metric.setdefault(title, []).append(_finding_row(finding))
    header = ("Group", "Customers", "Figure", "Tolerated", "Verdict", "To tell, it takes")
    return grouped_table("Comparisons by metric", header, by_metric)


def _finding_row(finding: Finding) -> Sequence[str]:
    return (
        place(finding),
        f"{finding.customers:,}",
        stacked(finding.figure),
        tolerated(finding.tolerance),
        _verdict_of(finding),
        _more(finding),
    )


def _more(finding: Finding) -> str:
    """How many customers it would take, for those that so few cannot decide."""
    if not finding.too_few:
        return NOTHING
    if finding.growth > MOST_TIMES:
        return "far more customers"
    return f"{math.ceil(10.0 * finding.growth) / 10.0:,.1f} times the customers"


def _differences(report: Report, output: OutputAudit) -> Html:
    """A drawing for each gated metric; for segments one for each attribute, as each group is in all of them."""
    own = [one for one in report.judged if one.output == output.yardstick.name and one.tolerance is not None]
    drawings: dict[tuple[str, str], list[Finding]] = {}
    for finding in own:
        drawings.setdefault((finding.metric, finding.attribute if finding.part else NOTHING), []).append(finding)
    return joined(*(_difference(report, output, *key, found) for key, found in drawings.items()))


def _difference(report: Report, output: OutputAudit, metric: str, attribute: str, found: list[Finding]) -> Html:
    tolerance = report.audit.policy.tolerances[metric]
    drawn = [one for one in found if one in sorted(found, key=_farness, reverse=True)[:MOST_DRAWN]]
    groups: dict[str, list[Row]] = {}
    for one in drawn:
        label = f"{one.group}: {one.part}" if one.part else one.group or "the whole attribute"
        groups.setdefault(one.attribute, []).append(Row(label, one.figure, bad=one.verdict == Verdict.FAIL))
    about = f", by {attribute}" if attribute else NOTHING
    left_out = f" The {MOST_DRAWN} of {len(found)} that lie farthest out." if len(drawn) < len(found) else NOTHING
    caption = (
        f"{titled(report, output.yardstick.name, MEANINGS[metric])}{about}, with 95 % intervals. Shaded is what the "
        f"policy tolerates: {tolerated(tolerance)}.{left_out}"
    )
    return figure(deviations(groups, tolerance), caption, f"{output.yardstick.name}-{metric}-{attribute}")


def _farness(finding: Finding) -> float:
    ideal = finding.tolerance.ideal if finding.tolerance else 0.0
    return abs(finding.figure.estimate - ideal)


def _reached(report: Report, output: OutputAudit) -> Html:
    share = percent(report.audit.policy.top_share)
    caption = (
        f"{titled(report, output.yardstick.name, 'Share of each group that is reached')} by a campaign that talks to "
        f"the {share} of customers with the highest scores, with 95 % intervals. The dashed line is everybody's. "
        "Groups may rightly differ here; who they are should surprise nobody."
    )
    return _shares(output, REACHED, caption)


def _kept(report: Report, output: OutputAudit) -> Html:
    if KEPT not in output.yardstick.meanings:
        return joined()
    if report.champion is None or KEPT not in output.everybody:
        return paragraph(
            "No other version put these customers into segments on the same day, so it cannot be told who would "
            "change theirs. Where there is a champion, its segments and those of a candidate are compared here."
        )
    caption = (
        "Share of each group that stays in the segment of the same number as champion version "
        f"{report.champion.version} has them in, on the same day, with 95 % intervals. The dashed line is everybody's. "
        "Nobody has changed: whoever leaves a segment is moved by the model alone. A group that is moved more than "
        "others meets more of what hangs on segments. No limit is set to it."
    )
    return _shares(output, KEPT, caption)


def _shares(output: OutputAudit, name: str, caption: str) -> Html:
    """A share of every group, drawn by attribute; nothing where no group is large enough."""
    groups = {
        one.partition.name: [Row(cell.group, cell.figures[name]) for cell in one.cells if name in cell.figures]
        for one in alone(output)
    }
    drawn = {attribute: rows for attribute, rows in groups.items() if rows}
    if not drawn:
        return joined()
    return figure(rates(drawn, output.everybody[name].estimate), caption, f"{output.yardstick.name}-{name}")


def _figures(output: OutputAudit) -> Html:
    """A table for each attribute; what is too small is said to be so."""
    told = {name for one in output.breakdowns for cell in one.cells for name in cell.figures}
    columns = [name for name in output.yardstick.meanings if name in told]
    tables = []
    for one in alone(output):
        counts = [name.capitalize() for name in one.cells[0].counts]
        rows = [_cell_row(output, one.partition, cell, columns) for cell in one.cells]
        rows.append(("everybody", *[NOTHING] * len(counts), *_cells(output, output.everybody, columns)))
        label = f"{output.yardstick.title}, by {one.partition.name}"
        header = ("Group", *counts, *(output.yardstick.meanings[name] for name in columns))
        tables.append(subsection(label, paragraph(_chance(one), soft=True), table(label, header, rows)))
    least = f"A group is judged from {output.yardstick.least} on. Smaller ones are named and counted."
    return joined(paragraph(least), *tables)


def _cell_row(output: OutputAudit, partition: Partition, cell: Cell, columns: Sequence[str]) -> Sequence[str]:
    notes = {
        "the others are compared with it": cell.group == partition.reference,
        "too small to be judged": not cell.enough,
    }
    note = ", ".join(note for note, holds in notes.items() if holds)
    name = joined(cell.group, " ", element("span", note, class_="limits")) if note else cell.group
    counts = [f"{count:,}" for count in cell.counts.values()]
    shown = counts if cell.enough else [counts[0], *[NOTHING] * (len(counts) - 1)]
    return (name, *shown, *_cells(output, cell.figures, columns))


def _cells(output: OutputAudit, figures: Mapping[str, Interval], columns: Sequence[str]) -> Iterator[str]:
    for name in columns:
        if name not in figures:
            yield NOTHING
        else:
            yield stacked_share(figures[name]) if name in output.yardstick.shares else stacked(figures[name])


def _chance(breakdown: Breakdown) -> str:
    told = [f"{SHUFFLED.get(metric) or MEANINGS[metric]}: {number(p, 3)}" for metric, p in breakdown.chance.items()]
    return f"By chance (p). {'; '.join(told)}." if told and breakdown.partition.reference else NOTHING


def _crossed(report: Report) -> Html:
    if not report.searched:
        small = sum(
            not cell.enough for output in report.audit.outputs for one in _crosses(output) for cell in one.cells
        )
        return paragraph(f"None of {small:,} crossed groups is large enough.") if small else joined()
    rows = [
        (titled(report, one.output, MEANINGS[one.metric]), place(one), f"{one.customers:,}", stacked(one.figure),
         tolerated(one.tolerance), _verdict_of(one) if one.verdict != Verdict.INCONCLUSIVE else "undecided")
        for one in sorted(report.searched, key=lambda one: (ORDER.index(one.verdict), -_farness(one)))[:MOST_DRAWN]
    ]  # fmt: skip
    cut = f"The {len(rows)} of {len(report.searched):,} figures that fail or lie farthest out."
    header = ("Metric", "Group", "Customers", "Figure", "Tolerated", "Verdict")
    return joined(
        paragraph(cut if len(rows) < len(report.searched) else NOTHING), table("Crossed groups", header, rows)
    )


def _waivers(report: Report) -> Html:
    audit = report.audit
    rows = [
        (code(one.name), _verdict(one.verdict), one.waiver.by, one.waiver.reason, one.waiver.expires.isoformat())
        for one in audit.findings
        if one.waiver
    ]
    notes = [f"{told(one)} expired on {one.expires} and does not count." for one in audit.policy.expired]
    notes += [f"{told(one)} covers no finding: correct its name, or remove it." for one in audit.unused_waivers]
    header = ("Finding", "Verdict", "Answered for by", "Reason", "Until")
    return joined(table("Waived findings", header, rows), bullets(notes), _how_to_waive(report))


def _how_to_waive(report: Report) -> Html:
    """The lines to write, for the first finding that blocks."""
    blocking = next((one for one in report.audit.findings if one.blocks), None)
    if blocking is None:
        return joined()
    lines = (
        "[[audits.waivers]]",
        f'model = "{report.model}"',
        f"finding = {json.dumps(blocking.name)}",
        'reason = "..."',
        'by = "..."',
        f"expires = {report.audited_on + dt.timedelta(days=WAIVED_DAYS)}",
    )
    return joined(
        paragraph(
            "Whoever answers for a finding says so in the project file. What is undecided may be named by the "
            "beginning of its name, up to a slash, and all below it is covered; a failure must be named in full."
        ),
        element("pre", code("\n".join(lines))),
    )


def _against_champion(report: Report) -> Html:
    rival = report.champion
    if rival is None:
        return joined()
    if rival.audit is None:
        return paragraph(f"Champion version {rival.version} could not be audited beside it: {rival.reason}.")
    theirs = {finding.name: finding for finding in rival.audit.findings}
    rows = [
        (code(one.name), interval(one.figure), _verdict_of(one), interval(other.figure), _verdict_of(other))
        for one in report.judged
        if (other := theirs.get(one.name)) and one.tolerance
    ]
    header = ("Finding", "This version", "Verdict", f"Champion, version {rival.version}", "Verdict")
    return joined(
        paragraph(
            joined(
                f"Champion version {rival.version}, audited on the same day by the same policy: ",
                _verdict(rival.audit.verdict), ".",
            )
        ),
        table("This version and the champion", header, rows),
    )  # fmt: skip


def _audited(report: Report) -> Html:
    population = report.audit.population
    rows = [("scored and compared", f"{len(population):,}")]
    rows += [(f"not scored: {reason}", f"{count:,}") for reason, count in population.excluded.items()]
    unknown = [
        (one.name, f"{len(one.known):,}", one.reference, percent(unknown_share(report, one)), one.banding)
        for one in population.attributes
    ]
    return joined(
        table("Customers", ("Customers", "Number"), rows),
        table("Attributes", ("Attribute", "Groups", "Compared with", "Unknown", "Bands"), unknown),
        paragraph(
            "Customers of whom an attribute is not known are shown as a group of that name. Nobody is compared with "
            "them and they are not judged: they are a gap in the records, and may belong to any of the groups."
        ),
    )


def _policy(report: Report) -> Html:
    policy = report.audit.policy
    used = {one.metric for one in report.audit.findings}
    limits = [
        (MEANINGS[name], tolerated(tolerance), code(name))
        for name, tolerance in policy.tolerances.items()
        if name in used or not used - {NOTHING_COMPARED}
    ]
    rest = [
        ("Customers that a campaign reaches", percent(policy.top_share), code("top_share")),
        ("Fewest customers with and without the outcome", f"{policy.minimum_outcomes}", code("minimum_outcomes")),
        ("Fewest customers, for value and segments", f"{policy.minimum_customers}", code("minimum_customers")),
    ]
    return joined(
        paragraph("These limits stand in the project file under ", code("[audits]"), " and are this business's own."),
        table("Policy", ("What", "Tolerated", "Key"), [*limits, *rest]),
    )


def _method() -> Iterator[str]:
    yield (
        "Every figure of a group comes with a 95 % interval. PASS means that the whole interval lies within the "
        "tolerance, FAIL that the figure lies outside it beyond doubt, INCONCLUSIVE that there are too few customers "
        "to say either. INCONCLUSIVE blocks like FAIL: an audit that could not look has not found that all is well."
    )
    yield (
        "All groups are compared with one fixed group, the largest. The gap between the best and the worst of many "
        "groups is never zero, so it could not show that all are alike."
    )
    yield (
        "Doubt is counted over all comparisons together (Holm's procedure): if no group differed by more than is "
        f"tolerated, the chance that any of them FAILs would be {ALPHA:.0%} at most. So a figure may lie outside with "
        "its whole interval and be INCONCLUSIVE still: among so many, one does by chance. PASS is not adjusted, as an "
        "audit passes only where every comparison does."
    )
    yield (
        "Two attributes crossed make many small groups. They are searched for harm, and one that FAILs blocks. Those "
        "that do not fail prove nothing, and are not asked to."
    )
    yield (
        "A small p says that groups which were shuffled at random would seldom differ as much as these do. It does "
        "not say by how much they differ."
    )


def _limits() -> Iterator[str]:
    yield (
        "The limits are this business's policy. That a group is reached at least four fifths as often as another is "
        "a rule of thumb and not a law, and no other limit here is one. Passing proves no compliance."
    )
    yield (
        "A difference is not yet an injustice, and equality not yet fairness. Where groups differ in how often they "
        "have the outcome, no score can give them equal levels, equal hits and equal false alarms at once."
    )
    yield (
        "The audit compares what the model says with what happened. If what happened was unfair itself, this does "
        "not show."
    )
    yield "It knows only the attributes that the business records, and only the customers who told theirs."
    yield "It is of one date. Who is reached in truth depends on the campaign, its channel and its offer."


def _provenance(report: Report) -> Html:
    audit = report.audit
    manifest = audit.population.manifest
    window = manifest.training_window
    trained = f"{window.first_snapshot} to {window.last_snapshot}" if window.last_snapshot else "no time axis"
    rows = [
        ("Bundle", code(audit.population.bundle_digest)),
        ("Audited population", code(audit.population.digest)),
        ("Policy", code(audit.policy.digest)),
        ("Training data", code(manifest.dataset_digest)),
        ("Training run", code(manifest.run_id)),
        ("Trained on snapshots", trained),
    ]
    return table("Provenance", ("What", "Digest or date"), rows)


def _crosses(output: OutputAudit) -> Iterable[Breakdown]:
    return [one for one in output.breakdowns if one.partition.crossed]


def _verdict(word: Verdict) -> Html:
    return verdict(word.value, passed=word == Verdict.PASS)


def _verdict_of(finding: Finding) -> Html:
    return joined(_verdict(finding.verdict), f" (waived by {finding.waiver.by})" if finding.waiver else NOTHING)
