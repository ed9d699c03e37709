from __future__ import annotations

import json
from dataclasses import replace

import pytest

from model_registry.schema import QUANTILES, Band, Feature, Output, PopulationRule, Schema, Status
from tests.support.bundles import SCHEMA

LOW = (0.0,) * (QUANTILES - 1)


def with_feature(position: int, **changes: object) -> Schema:
    features = list(SCHEMA.features)
    features[position] = replace(features[position], **changes)  # type: ignore[arg-type]  # a test changes what it likes
    return replace(SCHEMA, features=tuple(features), population=())


def with_output(**changes: object) -> Schema:
    return replace(SCHEMA, outputs=(replace(SCHEMA.outputs[0], **changes),))  # type: ignore[arg-type]  # as above


def test_a_schema_survives_json() -> None:
    assert Schema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


def test_features_are_split_by_kind_in_their_order() -> None:
    assert [feature.name for feature in SCHEMA.numeric] == ["recency_days", "frequency"]
    assert [feature.name for feature in SCHEMA.categorical] == ["channel"]


@pytest.mark.parametrize(
    "retrained",
    [
        with_feature(0, minimum=-3.0, maximum=400.0, unit="d", description="another text"),
        with_feature(2, vocabulary=("shop", "web", "phone")),
        with_output(bands=(Band("LOW", 0.0), Band("MEDIUM", 0.3), Band("HIGH", 0.6)), reference=()),
        replace(SCHEMA, population=()),
    ],
)
def test_the_digest_stays_when_a_retrain_moves_ranges_and_thresholds(retrained: Schema) -> None:
    assert retrained != SCHEMA
    assert retrained.digest == SCHEMA.digest


@pytest.mark.parametrize(
    "other",
    [
        with_feature(0, name="recency"),
        with_feature(1, nullable=False),
        with_feature(1, kind="categorical"),
        with_output(name="probability"),
        with_output(unit="percent"),
        replace(SCHEMA, features=SCHEMA.features[:2]),
        replace(SCHEMA, features=SCHEMA.features[::-1]),
    ],
)
def test_the_digest_changes_with_what_a_caller_can_notice(other: Schema) -> None:
    assert other.digest != SCHEMA.digest


@pytest.mark.parametrize(
    ("complaint", "parts"),
    [
        ("feature stands twice", {"features": (*SCHEMA.features, SCHEMA.features[0])}),
        ("output stands twice", {"outputs": SCHEMA.outputs * 2}),
        ("unknown kind", {"features": (*SCHEMA.features, Feature("place", "geographic"))}),  # type: ignore[arg-type]  # the point
        ("no numeric feature", {"population": (PopulationRule("channel", Status.INACTIVE),)}),
        ("no numeric feature", {"population": (PopulationRule("absent", Status.INACTIVE),)}),
        ("bands .* ascend", {"outputs": (Output("p", "", bands=(Band("LOW", 0.5), Band("HIGH", 0.5))),)}),
        ("100 reference quantiles", {"outputs": (Output("p", "", reference=(0.0,) * 100),)}),
        ("quantiles .* ascend", {"outputs": (Output("p", "", reference=(1.0, *LOW)),)}),
        ("quantiles .* ascend", {"outputs": (Output("p", "", reference=(*LOW, float("nan"))),)}),
    ],
)
def test_a_schema_by_which_nobody_could_be_scored_is_refused(complaint: str, parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(SCHEMA, **parts)  # type: ignore[arg-type]  # a test changes what it likes


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        {**SCHEMA.to_json(), "features": None},
        {**SCHEMA.to_json(), "features": [{"name": "recency_days"}]},
        {**SCHEMA.to_json(), "population": [{"feature": "recency_days", "status": 99}]},
    ],
)
def test_what_is_no_schema_is_refused_with_the_documented_errors(data: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Schema.from_json(data)
