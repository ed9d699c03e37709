"""What could be done where a gate fails, as a part of the page: what was measured with its price, and what was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.mitigation import CROSSED, LINES_LIMIT, NOT_MEASURED, REFIT_ACT, REFIT_LIMIT
from audits.policy import MEANINGS
from audits.statistics import Verdict
from audits.wording import NOTHING, enumerated, titled
from model_registry.page import (
    bullets,
    element,
    grouped_table,
    joined,
    number,
    paragraph,
    percent,
    stacked,
    subsection,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from audits.fairness import OutputAudit
    from audits.mitigation import Option
    from audits.refit import Refit, Telling, Trial
    from audits.report import Report
    from model_registry.evidence import Interval
    from model_registry.page import Html

BEST = 3
"""Inputs that are named with what they tell of a group."""


def remedies(report: Report) -> Iterator[Html]:
    """Everything, where something fails; nothing where nothing does."""
    for output in report.audit.outputs:
        for option in output.options:
            yield _option(report, output, option)
    refits = [_refit(report, output, refit) for output in report.audit.outputs for refit in output.refits]
    yield subsection("If it were trained again", paragraph(REFIT_LIMIT), paragraph(REFIT_ACT)) if refits else joined()
    yield from refits
    yield _tellings(report.audit.tellings)
    failed = [one for one in report.audit.findings if one.verdict == Verdict.FAIL]
    for metric in dict.fromkeys(one.metric for one in failed):
        crossed = [CROSSED] if all(one.crossed for one in failed if one.metric == metric) else []
        yield subsection(f"{MEANINGS[metric]}: not measured here", bullets([*NOT_MEASURED[metric], *crossed]))


def stacked_share(shown: Interval) -> Html:
    """A share with its interval below it, for the cell of a table."""
    limits = f"[{percent(shown.low)}, {percent(shown.high)}]"
    return joined(percent(shown.estimate), " ", element("span", limits, class_="limits"))


def _option(report: Report, output: OutputAudit, option: Option) -> Html:
    header = ("On customers that the lines were not drawn from", "One line for all", "A line for each group")
    groups = {
        "What it does": [_option_row(name, pair) for name, pair in option.effects.items()],
        "What it costs": [_option_row(name, pair) for name, pair in option.cost.items()],
    }
    lines = ", ".join(f"{group} from {number(line, 3)}" for group, line in option.lines.items())
    return subsection(
        f"{titled(report, output.yardstick.name, option.title)}, by {option.attribute}",
        paragraph(LINES_LIMIT),
        grouped_table(option.title, header, groups),
        paragraph(f"The lines: {lines}.", soft=True),
    )


def _option_row(name: str, pair: tuple[Interval, Interval]) -> Sequence[str]:
    return (name, *map(stacked_share, pair))


def _refit(report: Report, output: OutputAudit, refit: Refit) -> Html:
    tried = f"without {enumerated(refit.without)}" if refit.without else "under a constraint on the groups"
    title = f"Trained again {tried}, by {refit.attribute}"
    header = ("On customers that it was not fitted to", "Served model", "Small learner", "As tried", "Change")
    meanings = output.yardstick.meanings
    groups = {
        MEANINGS[refit.metric]: [_trial_row(group, trial) for group, trial in refit.effects.items()],
        "What it costs": [_trial_row(meanings[name], trial) for name, trial in refit.quality.items()],
    }
    return subsection(
        titled(report, output.yardstick.name, title),
        paragraph(_conclusion(report, output, refit)),
        grouped_table(title, header, groups),
        paragraph(f"The small learner is a {refit.learner}.", soft=True),
    )


def _trial_row(name: str, trial: Trial) -> Sequence[str]:
    return (name, *map(stacked, (trial.served, trial.free, trial.tried, trial.change)))


def _conclusion(report: Report, output: OutputAudit, refit: Refit) -> str:
    """What came of it for the groups that fail, and at what price."""
    failed = [
        one.group
        for one in report.audit.findings
        if one.verdict == Verdict.FAIL
        and (one.output, one.metric, one.attribute) == (output.yardstick.name, refit.metric, refit.attribute)
    ]
    tolerance = report.audit.policy.tolerances[refit.metric]
    trials = [refit.effects[group] for group in failed]
    said = f"It does not bring {enumerated(failed)} within the policy."
    if all(tolerance.holds(one.tried.low, one.tried.high) for one in trials):
        said = f"It brings {enumerated(failed)} within the policy."
    elif all(tolerance.holds(one.tried.estimate, one.tried.estimate) for one in trials):
        said = f"It brings {enumerated(failed)} within the policy by the estimate, and the interval reaches beyond it."
    if all(tolerance.holds(one.free.estimate, one.free.estimate) for one in trials):
        said = (
            f"Even when free, the small learner treats {enumerated(failed)} within the policy. Look first at how this "
            "model was trained: on snapshots of which date, and on whom."
        )
    return f"{said} {_price(output, refit)}"


def _price(output: OutputAudit, refit: Refit) -> str:
    sure = {name: one.change for name, one in refit.quality.items() if one.change.low > 0.0 or one.change.high < 0.0}
    if not sure:
        return "No figure of its quality changes beyond doubt."
    told = [f"{output.yardstick.meanings[name]} by {number(change.estimate, 3)}" for name, change in sure.items()]
    return f"Beyond doubt it changes: {'; '.join(told)}."


def _tellings(tellings: Sequence[Telling]) -> Html:
    header = ("Group", "All inputs together", "The best of them alone")
    rows = [(f"{one.attribute}: {one.group}", stacked(one.together), _best(one)) for one in tellings]
    if not rows:
        return joined(NOTHING)
    return subsection(
        "What the inputs tell of the groups",
        paragraph(
            "The model is never given the attribute. This is how well the groups that fail can be told from the others "
            "by what it is given: 0.5 tells nothing, 1 tells all (AUC). What tells a group is what a constraint works "
            "through, and what there is to drop or to coarsen. Where nothing tells it, training again without the "
            "attribute cannot treat the group otherwise."
        ),
        table("What the inputs tell of the groups", header, rows),
    )


def _best(telling: Telling) -> str:
    return ", ".join(f"{name} {number(chance, 2)}" for name, chance in list(telling.alone.items())[:BEST])
