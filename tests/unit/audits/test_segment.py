"""Segments by group."""

from __future__ import annotations

import numpy as np
import pytest

from audits.segment import Segments
from tests.support.worlds import SEGMENTS, clustering_world, partition, policy

WORLD = clustering_world(1, 3000, shift=1.0)
SEGMENT = Segments.of(WORLD, policy(), "cluster_id", title="Segment")
REGION = WORLD.attributes[1]
WEST = REGION.rows("west")


def test_shares_of_a_group_add_up_and_some_are_unusual() -> None:
    figures = SEGMENT.figures(WEST, None)
    assert sum(figures[name].estimate for name in SEGMENTS) == pytest.approx(1.0)
    assert figures["Loyal"].estimate > 0.4
    assert figures["unusual"].estimate == pytest.approx((WORLD.scores["distance"][WEST] >= 0.95).mean())
    assert set(figures) == set(SEGMENT.meanings) == SEGMENT.shares


def test_a_small_group_has_no_figures() -> None:
    assert SEGMENT.figures(WEST[:199], None) == {}


def test_every_segment_is_judged_in_every_group_and_the_attribute_as_a_whole() -> None:
    gated = list(SEGMENT.gated(REGION))
    assert [(one.metric, one.group) for one in gated if one.metric == "cramers_v"] == [("cramers_v", "")]
    pairs = {(one.group, one.part) for one in gated if one.metric == "cluster_ratio"}
    assert pairs == {(group, segment) for group in REGION.groups for segment in SEGMENTS}
    ratio = next(one for one in gated if (one.group, one.part) == ("west", "Loyal")).estimate
    loyal = SEGMENT.places == 0
    assert ratio.value == pytest.approx(loyal[WEST].mean() / loyal.mean())


def test_shares_are_those_of_the_customers_who_told() -> None:
    """Who told nothing may behave as they like: the others are compared among themselves."""
    hidden = np.arange(len(WORLD)) % 2 == 0
    values = np.where(hidden, "unknown", np.array(REGION.groups, object)[REGION.codes])
    parted = partition("region", values.tolist())
    smaller = Segments.of(WORLD, policy(minimum_customers=100), "cluster_id", title="Segment")
    ratio = next(one for one in smaller.gated(parted) if (one.group, one.part) == ("west", "Loyal")).estimate
    loyal = SEGMENT.places == 0
    assert ratio.value == pytest.approx(loyal[parted.rows("west")].mean() / loyal[~hidden].mean())


def test_one_group_alone_is_compared_with_nobody() -> None:
    parted = partition("size", ["large" if row < 2900 else "small" for row in range(len(WORLD))])
    assert list(SEGMENT.gated(parted)) == []


def test_a_segment_in_which_few_are_expected_is_not_judged_and_one_where_few_are_found_is() -> None:
    assert SEGMENT.minimum_expected == 30
    rare = SEGMENT.places.copy()
    rare[rare == 3] = 2
    rare[:300] = 3
    places = np.where(np.isin(np.arange(len(WORLD)), WEST) & (rare == 0), 1, rare).astype(np.int8)
    gated = list(Segments(**{**vars(SEGMENT), "places": places}).gated(REGION))
    west = {one.part: one.estimate.value for one in gated if one.group == "west" and one.part}
    # A tenth of everybody is in the last segment, so a group of a tenth has as few in it; of the first, it has none.
    assert len(WEST) * 0.1 == pytest.approx(30, abs=4)
    assert west["Loyal"] == 0.0
    assert ("Gone" in west) == (len(WEST) * (places == 3).mean() >= 30)


def test_a_segment_without_anybody_is_not_compared() -> None:
    empty = Segments(**{**vars(SEGMENT), "segments": (*SEGMENTS, "Nobody")})
    assert "Nobody" not in {one.part for one in empty.gated(REGION)}


def test_a_biased_region_does_not_come_by_chance() -> None:
    assert SEGMENT.chance(REGION)["cramers_v"] < 0.01
    assert SEGMENT.chance(WORLD.attributes[0])["cramers_v"] > 0.01
    assert SEGMENT.options(REGION, "cluster_ratio") == ()
