"""Segments by group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from audits.segment import KEPT, KEPT_GAP, Segments
from tests.support.worlds import SEGMENTS, clustering_world, partition, policy

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORLD = clustering_world(1, 3000, shift=1.0)
SEGMENT = Segments.of(WORLD, policy(), "cluster_id", title="Segment")
REGION = WORLD.attributes[1]
WEST = REGION.rows("west")


def test_shares_of_a_group_add_up_and_some_are_unusual() -> None:
    figures = SEGMENT.figures(WEST, None)
    assert sum(figures[name].estimate for name in SEGMENTS) == pytest.approx(1.0)
    assert figures["Loyal"].estimate > 0.4
    assert figures["unusual"].estimate == pytest.approx((WORLD.scores["distance"][WEST] >= 0.95).mean())
    assert set(figures) == {*SEGMENTS, "unusual"}
    assert set(SEGMENT.meanings) == SEGMENT.shares | {KEPT_GAP}


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


def test_no_remedy_is_measured_as_no_segment_is_the_right_one() -> None:
    limit = policy().tolerances["cluster_ratio"]
    assert SEGMENT.options(REGION, "cluster_ratio") == ()
    assert SEGMENT.refits(REGION, "cluster_ratio", "west", limit, WORLD.design) == ()


class TestStability:
    """A champion that has every other customer of the west in another segment, and all others in the same."""

    moved = np.isin(np.arange(len(WORLD)), WEST[::2])
    before = np.where(moved, WORLD.scores["cluster_id"] % len(SEGMENTS) + 1.0, WORLD.scores["cluster_id"])

    def beside(self, before: NDArray[np.float64]) -> Segments:
        champion = replace(WORLD, scores={"cluster_id": before})
        return Segments.of(WORLD.beside(champion), policy(), "cluster_id", title="Segment")

    def test_who_keeps_the_segment_is_told_by_group_and_against_the_reference(self) -> None:
        segment = self.beside(self.before)
        north = segment.figures(REGION.rows("north"), None)
        west = segment.figures(WEST, REGION.rows("north"))
        assert (north[KEPT].estimate, KEPT_GAP in north) == (1.0, False)
        assert west[KEPT].estimate == pytest.approx(0.5, abs=0.01)
        assert west[KEPT].low < 0.5 < west[KEPT].high
        assert west[KEPT_GAP].estimate == pytest.approx(-0.5, abs=0.01)
        assert -0.6 < west[KEPT_GAP].low < west[KEPT_GAP].high < -0.4
        assert segment.chance(REGION)[KEPT] < 0.01
        assert segment.chance(WORLD.attributes[0])[KEPT] > 0.01

    def test_it_is_judged_by_nothing(self) -> None:
        metrics = [[one.metric for one in segment.gated(REGION)] for segment in (SEGMENT, self.beside(self.before))]
        assert metrics[0] == metrics[1]

    def test_whom_the_champion_does_not_score_does_not_count(self) -> None:
        """It is silent about those whom the model has moved, and about all of the west but 190."""
        silent = np.where(self.moved, np.nan, self.before)
        assert self.beside(silent).figures(np.arange(len(WORLD)), None)[KEPT].estimate == 1.0
        few = np.where(np.isin(np.arange(len(WORLD)), WEST[190:]), np.nan, self.before)
        assert KEPT not in self.beside(few).figures(WEST, REGION.rows("north"))

    def test_a_segment_is_known_by_its_number_and_not_by_its_place(self) -> None:
        """One segment has ended since the champion, so the last is in another place now, under the same number."""
        outputs = tuple(
            replace(one, bands=tuple(band for band in one.bands if band.name != "Rare"))
            for one in WORLD.manifest.schema.outputs
        )
        gone = WORLD.scores["cluster_id"] == 4.0
        version = replace(
            WORLD,
            manifest=replace(WORLD.manifest, schema=replace(WORLD.manifest.schema, outputs=outputs)),
            bands={**WORLD.bands, "cluster_id": np.where(gone, 2, WORLD.bands["cluster_id"]).astype(np.int8)},
        )
        segment = Segments.of(version.beside(WORLD), policy(), "cluster_id", title="Segment")
        assert segment.figures(np.flatnonzero(gone), None)[KEPT].estimate == 1.0

    def test_without_a_champion_nobody_is_compared(self) -> None:
        assert not SEGMENT.compared.any()
        assert KEPT not in SEGMENT.figures(WEST, REGION.rows("north"))
        assert KEPT not in SEGMENT.chance(REGION)
