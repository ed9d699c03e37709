"""A drift audit as a page for people: what moved, how far, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.drift import MINIMUM_CELL, REFUSED, STALE_HORIZONS, Verdict
from model_registry.drift import CONFIDENCE, MINIMUM_EFFECTIVE, TOLERATED
from model_registry.page import (
    bar,
    bullets,
    code,
    grouped_table,
    heading,
    joined,
    number,
    page,
    paragraph,
    percent,
    section,
    subsection,
    table,
    tiles,
    verdict,
)
from model_registry.schema import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audits.drift import DriftReport, Group, Movement
    from model_registry.page import Html

SHOWN = 8
"""How many movements are drawn; the table tells of all."""

LONGEST_BAR = 0.7
"""Of its cell, which it shares with its figure."""

SHORT_DIGEST = 12
NOTHING = ""

_STATUSES = {
    Status.OK.name: "scored",
    Status.INSUFFICIENT_HISTORY.name: "not scored: too short a history for the model",
    Status.INACTIVE.name: "not scored: not active enough for the model",
    Status.NO_CONSENT.name: "not scored: no consent",
    REFUSED: "refused: an input is missing that the model never missed in training, or it is infinite",
}


def drift_page(report: DriftReport) -> str:
    """The page. It loads nothing and runs nothing."""
    title = f"{report.model}: drift audit"
    return page(
        title,
        heading(title),
        paragraph(
            f"Version {report.version} (bundle {report.digest[:SHORT_DIGEST]}), customers as of {report.as_of}, "
            f"compared with the {report.tested_on:,} customers whom it was tested on.",
            soft=True,
        ),
        tiles(_facts(report)),
        section("What to do", bullets(advice(report))),
        section("What moved", *map(_drawn, (*report.drifted_outputs, *report.drifted_inputs)[:SHOWN])),
        section("Outputs and inputs", _movements(report)),
        section("Who is scored", _statuses(report)),
        section("Groups", _groups(report.groups)),
        section("How to read this", *_method()),
    )


def advice(report: DriftReport) -> Iterator[str]:
    """What follows from the figures, most urgent first."""
    if report.verdict is Verdict.INSUFFICIENT:
        yield (
            f"Nothing can be concluded: {report.scored:,} customers are scored and {report.tested_on:,} were tested "
            f"on, and chance alone moves so few past the limits. {_enough(report.tested_on)}"
        )
    refused = report.statuses.get(REFUSED, 0)
    if refused:
        yield f"A server refuses {refused:,} of these customers. Find out why an input that always existed is missing."
    yield from map(_about_output, report.drifted_outputs)
    yield from map(_about_input, report.drifted_inputs)
    if report.drifted_inputs and not report.drifted_outputs:
        yield (
            "The scores themselves hold still. If the business has changed, train again when it suits; if a source "
            "has, mend it before you score."
        )
    if report.age.stale:
        yield (
            f"The model knows answers up to {report.age.learnt_until}, {report.age.days} days before the day of these "
            f"features: {STALE_HORIZONS} horizons of {report.age.horizon_days} days or more. Train again, for newer "
            "answers are in."
        )
    if report.verdict is Verdict.STABLE:
        yield "Nothing moved beyond what chance and custom allow. The model may go on."


def _enough(tested_on: int) -> str:
    if tested_on <= MINIMUM_EFFECTIVE:
        return "No table would be enough for a model that was tested on so few; read the figures with care."
    needed = MINIMUM_EFFECTIVE * tested_on / (tested_on - MINIMUM_EFFECTIVE)
    return f"{needed:,.0f} scored customers would be enough."


def _about_output(moved: Movement) -> str:
    return (
        f"{moved.name} has moved (PSI {number(moved.psi)}, limit {number(moved.limit)}), so bands and percentiles do "
        "not mean what they meant. Look at the inputs first; if they are right, train again and promote what passes."
    )


def _about_input(moved: Movement) -> str:
    figures = f"{moved.name} has moved (PSI {number(moved.psi)}, limit {number(moved.limit)})"
    if moved.missing.now - moved.missing.then > TOLERATED:
        return (
            f"{figures}: it is missing for {percent(moved.missing.now)} of the customers, and was for "
            f"{percent(moved.missing.then)}. See whether its source is still delivered."
        )
    if moved.outside > TOLERATED:
        return (
            f"{figures}: for {percent(moved.outside)} of the customers its value is one that training never saw. See "
            "whether its unit or its spelling has changed."
        )
    return f"{figures}. See whether its source has changed; if the customers have, train again."


def _facts(report: DriftReport) -> dict[str, str]:
    age = report.age
    return {
        "Verdict": verdict(report.verdict.value, passed=report.verdict is Verdict.STABLE),
        "Outputs that moved": f"{len(report.drifted_outputs)} of {len(report.outputs)}",
        "Inputs that moved": f"{len(report.drifted_inputs)} of {len(report.inputs)}",
        "Customers scored": f"{report.scored:,}",
        "Days since its last answers": "no time axis" if age.days is None else f"{age.days}",
    }


def _drawn(moved: Movement) -> Html:
    bins = [one for one in (*moved.bins, moved.missing) if one.then or one.now]
    largest = max(max(one.then, one.now) for one in bins)
    unit = f" ({moved.unit})" if moved.unit else ""
    return subsection(
        f"{moved.name}{unit}",
        table(
            f"Shares of customers by {moved.name}",
            ("Value", "When tested", "Now"),
            [(one.name, _share(one.then, largest), _share(one.now, largest)) for one in bins],
        ),
    )


def _share(share: float, largest: float) -> Html:
    return joined(bar(LONGEST_BAR * share / largest), " ", percent(share))


def _movements(report: DriftReport) -> Html:
    header = ("Name", "PSI", "Limit", "Missing then", "Missing now", "Never seen in training", "Reading")
    inputs = sorted(report.inputs, key=lambda moved: (moved.ages, -moved.psi))
    return grouped_table(
        "How far every output and input has moved",
        header,
        {"Outputs": map(_movement_row, report.outputs), "Inputs": map(_movement_row, inputs)},
    )


def _movement_row(moved: Movement) -> tuple[str, ...]:
    return (
        code(moved.name),
        number(moved.psi),
        number(moved.limit),
        percent(moved.missing.then),
        percent(moved.missing.now),
        percent(moved.outside),
        _reading(moved),
    )


def _reading(moved: Movement) -> str:
    if moved.ages:
        return "rises with time for everybody"
    return verdict("moved" if moved.drifted else "holds still", passed=not moved.drifted)


def _statuses(report: DriftReport) -> Html:
    rows = [
        (_STATUSES[status], f"{count:,}", percent(count / report.customers))
        for status, count in report.statuses.items()
    ]
    return table("Customers by status", ("Customers", "Number", "Share"), rows)


def _groups(groups: tuple[Group, ...]) -> Html:
    if not groups:
        return joined()
    header = ("Group", "Customers", "Scored", "Inputs missing", "Values never seen", "PSI of the first output")
    by_attribute: dict[str, list[tuple[str, ...]]] = {}
    for group in groups:
        by_attribute.setdefault(group.attribute, []).append(_group_row(group))
    return joined(
        paragraph(
            "Where a source fails for some, it shows here and not in the whole. The PSI tells how far a group's scores "
            "lie from those of everybody whom the model was tested on; groups may differ, so compare it with that of "
            "the report before this one."
        ),
        grouped_table("Figures by sensitive group", header, by_attribute),
    )


def _group_row(group: Group) -> tuple[str, ...]:
    if group.customers is None:
        return (group.group, f"fewer than {MINIMUM_CELL} scored", *[NOTHING] * 4)
    assert group.scored is not None
    assert group.missing is not None
    assert group.outside is not None
    assert group.psi is not None
    return (
        group.group,
        f"{group.customers:,}",
        percent(group.scored),
        percent(group.missing),
        percent(group.outside),
        number(group.psi),
    )


def _method() -> Iterator[Html]:
    yield paragraph(
        "Training froze bins for every input and output: the deciles, or the categories, of the customers whom the "
        "model was tested on. The population stability index (PSI) adds up over the bins how far the shares have "
        f"moved: 0 is not at all, up to {TOLERATED:g} is customarily no move, from 0.25 on a large one."
    )
    yield paragraph(
        f"The limit is {TOLERATED:g}, or, where the customers are few, what chance alone stays below "
        f"{CONFIDENCE:.0%} of the time. Only customers whom the model scores are compared. An input that moved is not "
        "wrong: this page says that the world is another, not that the model is worse. That shows when answers come in."
    )
