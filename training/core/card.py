"""The model card: one self-contained page on what a model is, how good it is, and what not to use it for.

After Mitchell et al., "Model cards for model reporting" (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_registry.page import (
    bullets,
    code,
    estimate,
    heading,
    joined,
    page,
    paragraph,
    percent,
    sections,
    subsection,
    table,
    tiles,
)
from training.core import card_model, card_quality
from training.core.verdict import deciding_metric, explained
from training.core.wording import metric_meaning, population_rule, purpose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model_registry.bundle import Manifest
    from model_registry.evidence import Evidence
    from model_registry.page import Html
    from training.core.dataset import Dataset
    from training.core.pipeline import Judgement

TOP_SHARE = "top_decile_share"
SHORT_DIGEST = 12


@dataclass(frozen=True)
class CardFacts:
    """All that a card tells.

    `business` is its name; `warnings` are what happened in this training that a reader should know.
    """

    business: str
    manifest: Manifest
    dataset: Dataset
    judgement: Judgement
    evidence: Evidence
    parameters: Mapping[str, float | int | str]
    importances: Mapping[str, float]
    warnings: Sequence[str]


def model_card(facts: CardFacts) -> str:
    """The page. It loads nothing and runs nothing."""
    title = f"{facts.manifest.name} for {facts.business}: model card"
    return page(
        title,
        heading(title),
        _origin(facts),
        explained(facts.judgement),
        _headline(facts),
        sections(
            {
                "Read this first": bullets(facts.warnings),
                "What it is for": _use(facts),
                "How good it is": card_quality.metrics(facts.judgement),
                "Gates": card_quality.gates(facts.judgement, facts.evidence.champion_version),
                "In pictures": card_quality.pictures(facts.judgement),
                "What it learnt from": card_model.data(facts.dataset),
                "What it looks at": card_model.importances(facts.importances, facts.manifest.schema.outputs),
                "Outputs": card_model.outputs(facts.manifest),
                "Inputs": card_model.inputs(facts.manifest.schema.features),
                "Limits": bullets(facts.judgement.limits),
                "Provenance": _provenance(facts),
            }
        ),
    )


def _origin(facts: CardFacts) -> Html:
    manifest = facts.manifest
    trained = manifest.trained_at.replace("T", " ").replace("+00:00", " UTC")
    bundle = facts.evidence.bundle_digest[:SHORT_DIGEST]
    return paragraph(f"Trained {trained} · run ", code(manifest.run_id), " · bundle ", code(bundle), soft=True)


def _headline(facts: CardFacts) -> Html:
    """The figures to remember: the one that decides, what the top tenth holds, and on how many it was seen."""
    judgement = facts.judgement
    shown: dict[str, str] = {}
    deciding = deciding_metric(judgement)
    if deciding is not None:
        shown[metric_meaning(judgement.meanings, deciding)] = estimate(judgement.metrics[deciding])
    if TOP_SHARE in judgement.metrics:
        shown[metric_meaning(judgement.meanings, TOP_SHARE)] = percent(judgement.metrics[TOP_SHARE].estimate)
    shown["Customers in the test part"] = f"{len(facts.dataset.test):,}"
    return tiles(shown)


def _use(facts: CardFacts) -> Html:
    manifest = facts.manifest
    features = {feature.name: feature for feature in manifest.schema.features}
    rules = [population_rule(rule, features[rule.feature]) for rule in manifest.schema.population]
    who = "Customers of whom this holds:" if rules else "Every customer that a request describes."
    beside = ", ".join(facts.judgement.documents)
    return joined(
        paragraph(purpose(manifest)),
        paragraph(f"Beside this card the run holds {beside}." if beside else ""),
        subsection("Who is scored", paragraph(who), bullets(rules)),
    )


def _provenance(facts: CardFacts) -> Html:
    manifest, parity = facts.manifest, facts.evidence.parity
    settings = {**facts.parameters, **manifest.constants}
    rows = [
        ["Parity of graph and native model", f"{parity.largest:.1e} at most on {parity.rows:,} rows"],
        *([name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in settings.items()),
        ["Dataset digest", code(manifest.dataset_digest)],
        ["Code digest", code(manifest.code_digest)],
        ["Bundle digest", code(facts.evidence.bundle_digest)],
    ]
    return table("Provenance", ["What", "Value"], rows)
