from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.schema import QUANTILES, Band, Distribution, Feature, Output, PopulationRule, Schema, Status
from tests.support.bundles import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

LOW = (0.0,) * (QUANTILES - 1)


def with_feature(position: int, **changes: object) -> Schema:
    features = list(SCHEMA.features)
    features[position] = replace(features[position], **changes)  # type: ignore[arg-type]  # a test changes what it likes
    return replace(SCHEMA, features=tuple(features), population=())


def with_output(**changes: object) -> Schema:
    return replace(SCHEMA, outputs=(replace(SCHEMA.outputs[0], **changes),))  # type: ignore[arg-type]  # as above


def test_a_schema_survives_json() -> None:
    assert Schema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


@st.composite
def distributions(draw: st.DrawFn, bins: int | None = None) -> Distribution:
    """Any that a training may freeze; of so many categories, or of numbers."""
    edges = () if bins else tuple(sorted(draw(st.sets(st.floats(allow_nan=False), max_size=9))))
    counts = draw(
        st.lists(st.integers(0, 100), min_size=(bins or len(edges) + 1) + 2, max_size=(bins or len(edges) + 1) + 2)
    )
    customers = max(sum(counts), 1)
    shares = [count / customers for count in counts]
    return Distribution(edges, tuple(shares[2:]), shares[0] if sum(counts) else 1.0, shares[1], customers)


@given(distributions(), distributions(bins=2), distributions())
def test_distributions_survive_json(numbers: Distribution, texts: Distribution, scores: Distribution) -> None:
    recency, frequency, channel = SCHEMA.features
    schema = replace(
        SCHEMA,
        features=(replace(recency, distribution=numbers), frequency, replace(channel, distribution=texts)),
        outputs=(replace(SCHEMA.outputs[0], distribution=scores),),
    )
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    assert schema.digest == SCHEMA.digest, "a retrain moves distributions too, and breaks no caller"


def test_a_schema_of_an_older_release_has_no_distributions() -> None:
    data = SCHEMA.to_json()
    for part in (*data["features"], *data["outputs"]):
        del part["distribution"]
    assert Schema.from_json(data) == SCHEMA


@pytest.mark.parametrize(
    ("complaint", "parts"),
    [
        ("edges .* ascend", {"edges": (2.0, 2.0), "shares": (0.5, 0.25, 0.25)}),
        ("edges .* ascend", {"edges": (float("nan"),), "shares": (0.5, 0.5)}),
        ("sum to one", {"shares": (0.5, 0.4)}),
        ("sum to one", {"shares": (1.5, -0.5)}),
        ("sum to one", {"shares": (0.5, float("nan"))}),
        ("sum to one", {"missing": 0.2}),
        ("sum to one", {"unseen": 0.2}),
        ("one customer", {"customers": 0}),
    ],
)
def test_what_is_no_distribution_is_refused(complaint: str, parts: dict[str, object]) -> None:
    sound = Distribution((1.0,), (0.5, 0.5), 0.0, 0.0, 10)
    with pytest.raises(ValueError, match=complaint):
        replace(sound, **parts)  # type: ignore[arg-type]  # a test changes what it likes


@pytest.mark.parametrize(
    "schema",
    [
        lambda: with_feature(0, distribution=Distribution((1.0,), (1.0,), 0.0, 0.0, 10)),
        lambda: with_feature(2, distribution=Distribution((), (1.0,), 0.0, 0.0, 10)),
        lambda: with_feature(2, distribution=Distribution((1.0,), (0.5, 0.5), 0.0, 0.0, 10)),
        lambda: with_output(distribution=Distribution((), (0.5, 0.5), 0.0, 0.0, 10)),
    ],
)
def test_a_distribution_has_a_share_for_each_of_its_bins(schema: Callable[[], Schema]) -> None:
    with pytest.raises(ValueError, match="does not have a share for each"):
        schema()


def test_what_rises_with_time_has_no_highest_value() -> None:
    assert replace(SCHEMA.features[0], maximum=None).ages
    assert not SCHEMA.features[0].ages
    assert not replace(SCHEMA.features[0], minimum=None, maximum=None).ages


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
