from __future__ import annotations

from dataclasses import replace

import pytest

from model_registry.compatibility import breaks
from model_registry.schema import Feature, Output, Schema
from tests.support.bundles import SCHEMA, manifest

BEFORE = manifest()
RECENCY, FREQUENCY, CHANNEL = SCHEMA.features
(PROBABILITY,) = SCHEMA.outputs


def broken_by(*features: Feature, outputs: tuple[Output, ...] = SCHEMA.outputs, **changes: object) -> tuple[str, ...]:
    # Population rules read features that may be gone here.
    return breaks(BEFORE, manifest(schema=Schema(features, outputs), **changes))


@pytest.mark.parametrize(
    ("features", "stumble"),
    [
        ((RECENCY, CHANNEL), "input frequency is refused: it is gone"),
        ((RECENCY, replace(FREQUENCY, kind="categorical"), CHANNEL), "input frequency is categorical, was numeric"),
        ((replace(RECENCY, unit="hours"), FREQUENCY, CHANNEL), "input recency_days is in hours, was in days"),
        ((RECENCY, FREQUENCY, replace(CHANNEL, unit="code")), "input channel is in code, was in no unit"),
        ((RECENCY, replace(FREQUENCY, nullable=False), CHANNEL), "input frequency is required, could be left out"),
        ((*SCHEMA.features, Feature("visits", "numeric", nullable=False)), "input visits is new and required"),
    ],
)
def test_what_breaks_an_input(features: tuple[Feature, ...], stumble: str) -> None:
    assert broken_by(*features) == (stumble,)


@pytest.mark.parametrize(
    ("output", "stumble"),
    [
        (replace(PROBABILITY, name="risk"), "output churn_probability is gone"),
        (replace(PROBABILITY, unit="percent"), "output churn_probability is in percent, was in probability"),
        (replace(PROBABILITY, unit=""), "output churn_probability is in no unit, was in probability"),
    ],
)
def test_what_breaks_an_answer(output: Output, stumble: str) -> None:
    assert broken_by(*SCHEMA.features, outputs=(output,)) == (stumble,)


def test_another_horizon_is_another_answer() -> None:
    assert broken_by(*SCHEMA.features, horizon_days=60) == ("answers speak of 60 days, spoke of 30",)


@pytest.mark.parametrize(
    "features",
    [
        SCHEMA.features,
        SCHEMA.features[::-1],
        (replace(RECENCY, nullable=True, minimum=1, maximum=400), FREQUENCY, CHANNEL),
        (RECENCY, FREQUENCY, replace(CHANNEL, vocabulary=("kiosk",), description="other words")),
        (*SCHEMA.features, Feature("visits", "numeric")),
    ],
)
def test_what_callers_do_not_notice(features: tuple[Feature, ...]) -> None:
    more = (*SCHEMA.outputs, Output("margin", "money"))
    moved = (replace(PROBABILITY, bands=(), reference=()),)
    assert broken_by(*features) == broken_by(*features, outputs=more) == broken_by(*features, outputs=moved) == ()


def test_everything_is_told_at_once() -> None:
    assert len(broken_by(Feature("visits", "numeric", nullable=False), outputs=(), horizon_days=7)) == 6
