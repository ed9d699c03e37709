"""What the cards of the four kinds of models are made of, by hand: no training, figures that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from model_registry.bundle import Manifest, TrainingWindow
from model_registry.evidence import Comparison, Evidence, Interval, Parity, Requirement
from model_registry.schema import QUANTILES, Band, Output, PopulationRule, Schema, Status
from tests.support.learning import dataset
from training.core.card import CardFacts
from training.core.drawing import two_axes
from training.core.pipeline import Illustration, Judgement

if TYPE_CHECKING:
    from training.core.dataset import Dataset, Rows

DATA = dataset(rows=60)
CATEGORIES = ("GROCERY", "MEAT & <FISH>")


def known(estimate: float, width: float = 0.04) -> Interval:
    """An estimate in the middle of its interval."""
    return Interval(estimate, estimate - width / 2, estimate + width / 2)


def churn() -> CardFacts:
    """One probability, everything as it should be."""
    output = Output("churn_probability", "probability", _bands("LOW", "MEDIUM", "HIGH"), _reference(1.0))
    rules = (PopulationRule("recency_days", Status.INACTIVE, maximum=90.0),)
    return _facts("churn", DATA, (output,), _judgement("auc", 0.8), rules)


def propensity() -> CardFacts:
    """Several probabilities, metrics of each of them, a champion."""
    outputs = (
        Output("purchase_probability", "probability", (), _reference(1.0)),
        *(Output(f"purchase_probability[{name}]", "probability", category=name) for name in CATEGORIES),
        Output("response_probability", "probability"),
    )
    judgement = _judgement("auc", 0.88)
    parts = {f"{metric}[{name}]": known(0.7) for metric in ("auc", "brier") for name in CATEGORIES}
    judged = replace(
        judgement,
        metrics=judgement.metrics | parts,
        others={"recency": {"auc": known(0.7), "auc[GROCERY]": known(0.6)}},
        champion=Comparison("champion", "auc", known(0.001, 0.01)),
        meanings={"auc": "AUC: how often", "brier": "Brier score"},
    )
    labels = {"purchased": np.ones, "purchased[GROCERY]": np.zeros}
    train, test = (_labelled(rows, {name: make(len(rows)) for name, make in labels.items()}) for rows in _parts())
    facts = _facts("propensity", replace(DATA, train=train, test=test), outputs, judged)
    return replace(facts, evidence=replace(facts.evidence, champion_version="7"))


def cltv() -> CardFacts:
    """Money with bounds and tiers, a requirement that fails, customers split within one snapshot."""
    tiers = (Band("BRONZE", 0.0), Band("SILVER", 1250.0), Band("GOLD", 12_345.678))
    outputs = (
        Output("expected_value", "EUR", tiers, _reference(20_000.0)),
        Output("lower_bound", "EUR"),
        Output("upper_bound", "EUR"),
    )
    judgement = _judgement("gini", 0.7)
    judged = replace(
        judgement,
        metrics=judgement.metrics | {"mae": known(1234.56789, 80.0)},
        requirements=(Requirement("coverage", 0.61, 0.75, 0.85), Requirement("bias", 0.02, high=0.1)),
        grade="poor",
        documents={"tiers.html": ""},
    )
    train, test = (_labelled(rows, {"revenue": np.full(len(rows), 1234.5678)}) for rows in _parts())
    window = TrainingWindow("2017-06-01", "2017-06-01", "2017-06-01")
    data = replace(DATA, train=replace(train, dates=np.full(len(train), np.datetime64("2017-06-01"))), test=test)
    facts = _facts("cltv", replace(data, window=window), outputs, judged)
    return replace(facts, manifest=replace(facts.manifest, constants={"interval_level": 0.8}))


def clustering() -> CardFacts:
    """Groups with names, no label, no trees, no time axis."""
    groups = (Band("Loyal <3", 1.0), Band("New", 2.0), Band("Gone", 4.0))
    outputs = (
        Output("cluster_id", "", groups),
        Output("distance", "scaled units", (Band("USUAL", 0.0), Band("UNUSUAL", 3.2)), _reference(5.0)),
        Output("recency_score", "quintile"),
    )
    judgement = replace(_judgement("silhouette", 0.3), illustrations=(), baselines=(), others={})
    train, test = (replace(_labelled(rows, {}), dates=np.full(len(rows), np.datetime64("NaT"))) for rows in _parts())
    data = replace(DATA, train=train, test=test, horizon_days=0, window=TrainingWindow())
    return replace(_facts("clustering", data, outputs, judgement), importances={})


def _facts(
    name: str,
    data: Dataset,
    outputs: tuple[Output, ...],
    judgement: Judgement,
    population: tuple[PopulationRule, ...] = (),
) -> CardFacts:
    manifest = Manifest(
        name=name,
        schema=Schema(data.features, outputs, population),
        horizon_days=data.horizon_days,
        training_window=data.window,
        metrics={},
        run_id="run-<1>",
        trained_at="2018-01-02T03:04:05+00:00",
        dataset_digest="d" * 64,
        code_digest="c" * 64,
    )
    evidence = Evidence(
        parity=Parity({"holdout": 1.234567e-7}, 4321, 1e-5),
        metrics=judgement.metrics,
        baselines=judgement.baselines,
        champion=judgement.champion,
        champion_version="",
        bundle_digest="b" * 64,
        requirements=judgement.requirements,
        grade=judgement.grade,
    )
    return CardFacts(
        business="Smith & Sons",
        manifest=manifest,
        dataset=data,
        judgement=judgement,
        evidence=evidence,
        parameters={"learning_rate": 0.0123456789, "trees": 250},
        importances={"spend": 0.7, "recency_days": 0.3, "channel": 0.0},
        warnings=("spend <alone> reaches an AUC of 0.990.",),
    )


def _judgement(deciding: str, strength: float) -> Judgement:
    return Judgement(
        metrics={deciding: known(strength), "top_decile_share": known(0.4)},
        others={"recency": {deciding: known(strength - 0.1)}},
        baselines=(Comparison("recency", deciding, known(0.1)),),
        champion=None,
        illustrations=(Illustration("lift", 'It <rises> & "falls".', two_axes()[0]),),
        meanings={},
        limits=("Not for <prices> & credit.",),
        grade="good",
    )


def _parts() -> tuple[Rows, Rows]:
    return DATA.train, DATA.test


def _labelled(rows: Rows, labels: dict[str, np.ndarray]) -> Rows:
    return replace(rows, labels={name: values.astype(np.float32) for name, values in labels.items()})


def _bands(*names: str) -> tuple[Band, ...]:
    return tuple(Band(name, place / len(names)) for place, name in enumerate(names))


def _reference(top: float) -> tuple[float, ...]:
    return tuple(np.linspace(0.0, top, QUANTILES).tolist())


KINDS = {"churn": churn, "propensity": propensity, "cltv": cltv, "clustering": clustering}
