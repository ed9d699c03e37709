"""What a training leaves in its run: the bundle, the evidence, the model card, the plots."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from model_registry.bundle import MODEL_FILE, read_bundle, write_bundle
from model_registry.evidence import EVIDENCE_FILE, Evidence, Parity
from model_registry.mlflow_registry import BUNDLE_ARTIFACT
from model_registry.servable import Servable
from training.core.card import CardFacts, model_card
from training.core.drawing import to_svg
from training.core.golden import golden_rows
from training.core.tracking import RunRecord

if TYPE_CHECKING:
    from pathlib import Path

    from training.core.dataset import Dataset
    from training.core.draft import Draft
    from training.core.pipeline import Judgement

CARD_FILE = "model_card.html"
PARITY_FILE = "parity.json"
COMPARISON_FILE = "champion_comparison.json"
PLOTS_FOLDER = "plots"
EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Outcome:
    evidence: Evidence
    record: RunRecord


def write_artifacts(
    folder: Path,
    business: str,
    draft: Draft,
    judgement: Judgement,
    parity: Parity,
    champion: str,
    warnings: tuple[str, ...],
) -> Outcome:
    """Writes the run's artifacts into `folder`. The bundle is read back and replayed before anybody else may.

    `business` is its name, and `champion` the version that the judgement was compared with, as the card tells them.

    Raises:
        BundleError: what was written does not reproduce its own golden rows.
    """
    estimates = {name: interval.estimate for name, interval in judgement.metrics.items()}
    manifest = replace(draft.manifest, schema=draft.observed_schema(), metrics=estimates)
    bundle = folder / BUNDLE_ARTIFACT
    digest = write_bundle(bundle, manifest, draft.fitted.graph, golden_rows(draft.servable, draft.dataset.test.columns))
    Servable(read_bundle(bundle)).replay()
    evidence = Evidence(
        parity=parity,
        metrics=judgement.metrics,
        baselines=judgement.baselines,
        champion=judgement.champion,
        champion_version=champion,
        bundle_digest=digest,
        requirements=judgement.requirements,
        grade=judgement.grade,
    )
    facts = CardFacts(
        business=business,
        manifest=manifest,
        dataset=draft.dataset,
        judgement=judgement,
        evidence=evidence,
        parameters=draft.fitted.parameters,
        importances=draft.fitted.importances,
        warnings=warnings,
    )
    _write_papers(folder, facts)
    record = RunRecord(
        parameters={**draft.fitted.parameters, **_settings(draft.dataset)},
        metrics=_all_metrics(judgement),
        grade=judgement.grade,
        dataset_digest=manifest.dataset_digest,
        folder=folder,
        model=(bundle / MODEL_FILE).read_bytes(),
        schema=manifest.schema,
        example=draft.dataset.test.columns.slice(0, EXAMPLE_ROWS),
    )
    return Outcome(evidence, record)


def _write_papers(folder: Path, facts: CardFacts) -> None:
    evidence = facts.evidence.to_json()
    (folder / EVIDENCE_FILE).write_text(json.dumps(evidence, indent=1))
    (folder / PARITY_FILE).write_text(json.dumps(evidence["parity"], indent=1))
    (folder / COMPARISON_FILE).write_text(json.dumps(evidence["champion"], indent=1))
    (folder / CARD_FILE).write_text(model_card(facts), encoding="utf-8")
    for name, text in facts.judgement.documents.items():
        (folder / name).write_text(text, encoding="utf-8")
    plots = folder / PLOTS_FOLDER
    plots.mkdir()
    for one in facts.judgement.illustrations:
        (plots / f"{one.name}.svg").write_text(to_svg(one.figure), encoding="utf-8")


def _settings(dataset: Dataset) -> dict[str, float | int | str]:
    sample = dataset.sample
    drawn = {"sampled_customers": sample.customers, "known_customers": sample.known} if sample else {}
    return {
        "horizon_days": dataset.horizon_days,
        "first_snapshot": dataset.window.first_snapshot,
        "last_snapshot": dataset.window.last_snapshot,
        "test_snapshot": dataset.window.test_snapshot,
        "training_rows": len(dataset.train),
        "test_rows": len(dataset.test),
        "features": len(dataset.features),
        **drawn,
    }


def _all_metrics(judgement: Judgement) -> dict[str, float]:
    """Estimates and ends of intervals of the model, estimates of the others, differences."""
    metrics: dict[str, float] = {}
    for name, interval in judgement.metrics.items():
        metrics |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    for other, figures in judgement.others.items():
        metrics |= {f"{other}/{name}": interval.estimate for name, interval in figures.items()}
    comparisons = [*judgement.baselines, *([judgement.champion] if judgement.champion else [])]
    return metrics | {f"{one.other}/{one.metric}_difference": one.difference.estimate for one in comparisons}
