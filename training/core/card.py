"""The model card: one self-contained page on what a model is, how good it is, and what not to use it for.

After Mitchell et al., "Model cards for model reporting" (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from training.core.plots import to_svg

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from model_registry.bundle import Manifest
    from model_registry.evidence import Comparison, Evidence
    from model_registry.schema import Feature, Output
    from training.core.dataset import Dataset
    from training.core.pipeline import Judgement

SHOWN_FEATURES = 15
SHORT_DIGEST = 12
NO_FIGURE = "n/a"

_STYLE = """
:root { --ink: #22313f; --soft: #66727f; --line: #e3e6ea; --accent: #1f6f8b; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); }
body { max-width: 60rem; margin: 3rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.6rem; }
p, figcaption, li { max-width: 44rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } figure { margin: 1.5rem 0; } svg { max-width: 100%; height: auto; }
.bar { background: var(--accent); height: .7rem; display: inline-block; } code { font-size: .85rem; }
"""


@dataclass(frozen=True)
class CardFacts:
    """All that a card tells. `warnings` are what happened in this training that a reader should know."""

    manifest: Manifest
    dataset: Dataset
    judgement: Judgement
    evidence: Evidence
    parameters: Mapping[str, float | int | str]
    importances: Mapping[str, float]
    warnings: Sequence[str]


def model_card(facts: CardFacts) -> str:
    """The page. It loads nothing and runs nothing."""
    manifest = facts.manifest
    title = f"{manifest.name}: model card"
    sections = [
        f"<h1>{escape(title)}</h1>",
        _origin(facts),
        _purpose(facts),
        _section("How good it is", _metrics(facts.judgement)),
        _section("Against simpler rules and the champion", _comparisons(facts)),
        "".join(_figure(to_svg(one.figure), one.caption) for one in facts.judgement.illustrations),
        _section("What it learnt from", _data(facts)),
        _section("What it looks at", _importances(facts.importances)),
        _section("Inputs", _inputs(manifest.schema.features)),
        _section("Outputs", "".join(map(_output, manifest.schema.outputs)) + _population(facts)),
        _section("Limits", _list([*facts.warnings, *facts.judgement.limits])),
        _section("Provenance", _provenance(facts)),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(sections)}</body></html>\n'


def _origin(facts: CardFacts) -> str:
    manifest = facts.manifest
    bundle = facts.evidence.bundle_digest[:SHORT_DIGEST]
    return (
        f'<p class="soft">Trained {escape(manifest.trained_at)} · run {escape(manifest.run_id)} · bundle {bundle}</p>'
    )


def _purpose(facts: CardFacts) -> str:
    days = facts.manifest.horizon_days
    outputs = ", ".join(output.name for output in facts.manifest.schema.outputs)
    when = f" for the {days} days after a snapshot" if days else ""
    return f"<p>Scores customers with <code>{escape(outputs)}</code>{when}. It is meant to choose whom to talk to.</p>"


def _metrics(judgement: Judgement) -> str:
    header = ["On the test part, with 95 % bootstrap intervals", "This model", *judgement.others]
    rows = []
    for name, interval in judgement.metrics.items():
        others = (str(other[name]) if name in other else NO_FIGURE for other in judgement.others.values())
        rows.append([judgement.meanings.get(name, name), str(interval), *others])
    return _table(header, rows)


def _comparisons(facts: CardFacts) -> str:
    comparisons = [*facts.evidence.baselines]
    if facts.evidence.champion is not None:
        comparisons.append(facts.evidence.champion)
    rows = [[one.other, one.metric, str(one.difference), _verdict(one)] for one in comparisons]
    text = "<p>Differences on the same customers and the same resamples; positive means that this model is better.</p>"
    return text + _table(["Against", "By", "Difference", "Reading"], rows)


def _verdict(comparison: Comparison) -> str:
    if comparison.difference.low > 0:
        return "better"
    return "worse" if comparison.difference.high < 0 else "no difference shown"


def _data(facts: CardFacts) -> str:
    window, dataset = facts.manifest.training_window, facts.dataset
    if dataset.has_time_axis:
        text = (
            f"Snapshots from {window.first_snapshot} to {window.last_snapshot} trained, {window.test_snapshot} tested. "
            "Features use only what lies before a snapshot, and every training label had closed when the test snapshot "
            "opened."
        )
    else:
        text = (
            "The outcome carries no date, so there is no time axis: customers were split at random, stratified by "
            "outcome, and the model was tuned by cross-validation. Nothing here shows how it fares on a later date."
        )
    rows = [
        [part, f"{len(data):,}", *(f"{values.mean():.3f}" for values in data.labels.values())]
        for part, data in (("training", dataset.train), ("test", dataset.test))
    ]
    return f"<p>{text}</p>" + _table(["Part", "Rows", *(f"Mean {name}" for name in dataset.train.labels)], rows)


def _importances(importances: Mapping[str, float]) -> str:
    ranked = sorted(importances.items(), key=lambda item: -item[1])[:SHOWN_FEATURES]
    largest = ranked[0][1] if ranked else 1.0
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{share:.1%}</td>"
        f'<td style="width:55%"><span class="bar" style="width:{100 * share / largest:.1f}%"></span></td></tr>'
        for name, share in ranked
    )
    note = "<p>Shares of the loss that splits on a feature removed. Related features share theirs; none is a cause.</p>"
    return f"{note}<table>{rows}</table>"


def _inputs(features: Iterable[Feature]) -> str:
    rows = [
        [one.name, one.unit or one.kind, one.description, _range(one), "yes" if one.nullable else "no"]
        for one in features
    ]
    return _table(["Name", "Unit", "Meaning", "Seen in training", "May be missing"], rows)


def _range(feature: Feature) -> str:
    if feature.kind == "categorical":
        return f"{len(feature.vocabulary)} categories"
    if feature.minimum is None or feature.maximum is None:
        return "never known"
    return f"{feature.minimum:.4g} to {feature.maximum:.4g}"


def _output(output: Output) -> str:
    bands = ", ".join(f"{band.name} from {band.threshold:.3f}" for band in output.bands)
    return f"<p><code>{escape(output.name)}</code>, a {escape(output.unit)}. {escape(bands)}</p>"


def _population(facts: CardFacts) -> str:
    rules = [
        f"{rule.feature} {_limits(rule.minimum, rule.maximum)}, else {rule.status.name}"
        for rule in facts.manifest.schema.population
    ]
    return "<p>Scored are customers with:</p>" + _list(rules) if rules else ""


def _limits(minimum: float | None, maximum: float | None) -> str:
    parts = [
        f"at least {minimum:g}" if minimum is not None else "",
        f"at most {maximum:g}" if maximum is not None else "",
    ]
    return " and ".join(part for part in parts if part)


def _provenance(facts: CardFacts) -> str:
    manifest, parity = facts.manifest, facts.evidence.parity
    parameters = ", ".join(f"{name} {value}" for name, value in facts.parameters.items())
    return _table(
        ["", ""],
        [
            ["Parity of graph and native model", f"{parity.largest:.1e} at most on {parity.rows:,} rows"],
            ["Parameters", parameters],
            ["Dataset digest", manifest.dataset_digest],
            ["Code digest", manifest.code_digest],
            ["Bundle digest", facts.evidence.bundle_digest],
        ],
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}" if content else ""


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
