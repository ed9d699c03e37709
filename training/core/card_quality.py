"""What the card says of quality: figures, gates, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_registry.gates import NON_INFERIORITY_MARGIN
from model_registry.page import (
    NOTHING,
    figure,
    grouped_table,
    joined,
    limit,
    number,
    paragraph,
    stacked,
    subsection,
    table,
    term,
    verdict,
)
from training.core.drawing import to_svg
from training.core.wording import between, metric_meaning, metric_name

if TYPE_CHECKING:
    from model_registry.evidence import Comparison
    from model_registry.page import Html
    from training.core.pipeline import Judgement


def metrics(judgement: Judgement) -> Html:
    """Every metric with its interval, beside those of the simple rules and the champion."""
    header = ["On the test part", "This model", *judgement.others]
    whole = [
        _metric_row(judgement, name, term(metric_meaning(judgement.meanings, name)))
        for name in judgement.metrics
        if "[" not in name
    ]
    return joined(
        paragraph(
            "Below each figure stands its 95 % bootstrap interval: what it might have been with other customers of the "
            "same kind."
        ),
        table("Metrics", header, whole),
        subsection("One by one", grouped_table("Metrics one by one", header, _metrics_by_part(judgement))),
    )


def _metrics_by_part(judgement: Judgement) -> dict[str, list[list[str]]]:
    """Metrics such as `auc[GROCERY]`: a group for each metric, a row for each part."""
    groups: dict[str, list[list[str]]] = {}
    for name in judgement.metrics:
        base, bracket, part = name.partition("[")
        if bracket:
            groups.setdefault(metric_meaning(judgement.meanings, base), []).append(
                _metric_row(judgement, name, part.removesuffix("]"))
            )
    return groups


def _metric_row(judgement: Judgement, name: str, title: str) -> list[str]:
    scorers = (judgement.metrics, *judgement.others.values())
    return [title, *(stacked(scorer[name]) if name in scorer else NOTHING for scorer in scorers)]


def gates(judgement: Judgement, champion_version: str) -> Html:
    """What promotion asks of the figures; `champion_version` is empty where there was no champion."""
    rows = [_gate(judgement, one, one.other, one.margin) for one in judgement.baselines]
    if judgement.champion is not None:
        version = f"champion, version {champion_version}"
        rows.append(_gate(judgement, judgement.champion, version, NON_INFERIORITY_MARGIN))
    return joined(
        paragraph(
            "Promotion asks that every gate passes, and besides these some that it measures itself; "
            "'regulars promote --dry-run' shows them all."
        ),
        subsection(
            "Against simple rules and the champion",
            paragraph(
                "Differences on the same customers and the same resamples; positive means that this model is better. "
                "The whole interval must lie above the limit."
            ),
            table("Gates against others", ["Against", "By", "Difference", "Must lie above", "Gate"], rows),
            paragraph(_on_champion(judgement, champion_version)),
        )
        if rows
        else paragraph("It was compared with nothing simpler, so promotion will refuse it."),
        subsection("Requirements", _requirements(judgement)),
    )


def _gate(judgement: Judgement, one: Comparison, against: str, margin: float) -> list[str]:
    passed = one.difference.low > -margin
    metric = metric_name(judgement.meanings, one.metric)
    return [against, metric, stacked(one.difference), limit(-margin), _passes(passed=passed)]


def _on_champion(judgement: Judgement, version: str) -> str:
    if not version:
        return "There was no champion to compare it with."
    if judgement.champion is None:
        return f"It was not compared with the champion, version {version}, so promotion will refuse it."
    return ""


def _requirements(judgement: Judgement) -> Html:
    rows = [
        [
            term(metric_meaning(judgement.meanings, one.metric)),
            number(one.figure),
            between(one.low, one.high),
            _passes(passed=one.passed),
        ]
        for one in judgement.requirements
    ]
    return table("Requirements", ["Figure", "On the test part", "Must be", "Gate"], rows)


def _passes(*, passed: bool) -> Html:
    return verdict("passes" if passed else "fails", passed=passed)


def pictures(judgement: Judgement) -> Html:
    """The illustrations with their captions."""
    return joined(*(figure(to_svg(one.figure), one.caption, one.name) for one in judgement.illustrations))
