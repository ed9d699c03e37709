"""Durable ids: kept through relabelling, never given twice, and every change told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model_registry.bundle import Manifest, TrainingWindow
from model_registry.schema import Band, Output, Schema
from training.clustering.lineage import HIGHEST, LEAST_OVERLAP, Lineage, Reign
from training.core.champion import Champion

if TYPE_CHECKING:
    from collections.abc import Sequence


def reign(ids: Sequence[int], highest: int = 9) -> Reign:
    numbers = np.array(ids, np.intp)
    return Reign({int(number): f"name {number}" for number in np.unique(numbers)}, highest, numbers)


def after(segments: Sequence[int], ids: Sequence[int], highest: int = 9) -> Lineage:
    return Lineage.after(reign(ids, highest), np.array(segments, np.intp), max(segments) + 1)


def given_ids(lineage: Lineage, segments: Sequence[int]) -> list[int]:
    return [lineage.ids[place] for place in segments]


@given(st.data())
def test_how_segments_are_labelled_never_changes_what_customers_are_told(data: st.DataObject) -> None:
    k = data.draw(st.integers(2, 6))
    rows = data.draw(st.integers(k, 40))
    segments = data.draw(st.lists(st.integers(0, k - 1), min_size=rows, max_size=rows))
    ids = data.draw(st.lists(st.integers(1, 7), min_size=rows, max_size=rows))
    order = data.draw(st.permutations(range(k)))
    old = reign(ids)
    plain = Lineage.after(old, np.array(segments), k)
    relabelled = [order[place] for place in segments]
    turned = Lineage.after(old, np.array(relabelled), k)
    assert given_ids(turned, relabelled) == given_ids(plain, segments)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=5, max_size=40), st.integers(6, 12))
def test_ids_are_distinct_and_births_get_ids_that_nobody_had(pairs: list[tuple[int, int]], highest: int) -> None:
    lineage = after([place for place, _ in pairs], [number for _, number in pairs], highest)
    assert len(set(lineage.ids)) == len(lineage.ids)
    assert all(number > highest for number in lineage.births)
    assert lineage.highest == highest + len(lineage.births)
    assert set(lineage.ids) | set(lineage.deaths) >= set(lineage.former)


def test_a_first_model_counts_from_one() -> None:
    lineage = Lineage.first(4)
    assert (lineage.ids, lineage.highest, lineage.kept) == ((1, 2, 3, 4), 4, 1.0)
    assert not lineage.births
    assert not lineage.story(["a", "b", "c", "d"], {})


def test_the_same_segments_in_another_order_keep_their_ids() -> None:
    lineage = after([2, 2, 0, 0, 1, 1], [4, 4, 7, 7, 9, 9])
    assert lineage.ids == (7, 9, 4)
    assert (lineage.kept, lineage.births, lineage.deaths, lineage.splits, lineage.merges) == (1.0, (), (), {}, {})


def test_a_split_leaves_the_id_to_the_larger_part() -> None:
    segments, ids = [0] * 60 + [1] * 40 + [2] * 100, [3] * 100 + [5] * 100
    lineage = after(segments, ids)
    assert lineage.ids == (3, 10, 5)
    assert (lineage.births, lineage.deaths, lineage.splits, lineage.merges) == ((10,), (), {3: (3, 10)}, {})
    assert lineage.kept == 0.8
    assert lineage.highest == 10
    assert lineage.story(["a", "b", "c"], {3: "a", 5: "c"}) == (
        "Segment 3 (a) has split into 3 (a) and 10 (b).",
        "Segment 10 (b) is new.",
    )


def test_a_merger_keeps_the_id_of_the_larger_part() -> None:
    lineage = after([0] * 100 + [1] * 100, [3] * 60 + [4] * 40 + [5] * 100)
    assert (lineage.ids, lineage.deaths, lineage.merges, lineage.splits) == ((3, 5), (4,), {3: (3, 4)}, {})
    assert lineage.story(["a", "b"], {3: "a", 4: "x", 5: "b"}) == (
        "Segments 3 (a) and 4 (x) have merged into 3 (a).",
        "Segment 4 (x) has ended; its number is not given again.",
    )


def test_too_few_shared_customers_are_a_death_and_a_birth() -> None:
    # The 100 of segment 3 scatter: at most 70 are among the 330 of one new segment or in 3.
    assert LEAST_OVERLAP > 70 / 330
    lineage = after([0] * 30 + [1] * 70 + [0] * 70 + [1] * 230, [3] * 100 + [4] * 300)
    assert (lineage.ids, lineage.deaths, lineage.births) == ((10, 4), (3,), (10,))


def test_a_segment_that_nobody_is_in_any_more_has_ended() -> None:
    old = Reign({1: "a", 2: "b", 3: "c"}, 3, np.array([1, 1, 2, 2]))
    lineage = Lineage.after(old, np.array([0, 0, 1, 1]), 3)
    assert lineage.ids[:2] == (1, 2)
    assert (lineage.deaths, lineage.births) == ((3,), (4,))


def test_a_new_name_is_told() -> None:
    lineage = after([0, 0, 1, 1], [1, 1, 2, 2])
    told = lineage.story(["Loyal", "Lapsed"], {1: "Champions", 2: "Lapsed"})
    assert told == ("Segment 1 is called Loyal now; it was Champions.",)


def champion(constants: dict[str, float]) -> Champion:
    schema = Schema((), (Output("cluster_id", "cluster", (Band("Loyal", 2.0), Band("Lapsed", 5.0))),))
    manifest = Manifest("clustering", schema, 30, TrainingWindow(), {}, "", "", "", "", constants)
    return Champion("3", {"cluster_id": np.array([5.0, 2.0], np.float32)}, manifest)


def test_a_champion_is_read_off_its_bundle() -> None:
    old = Reign.of(champion({HIGHEST: 8.0}))
    assert old is not None
    assert (old.names, old.highest, old.ids.tolist()) == ({2: "Loyal", 5: "Lapsed"}, 8, [5, 2])


def test_without_a_note_the_highest_id_is_the_highest_there() -> None:
    old = Reign.of(champion({}))
    assert old is not None
    assert old.highest == 5


def test_no_champion_reigns_not() -> None:
    assert Reign.of(Champion()) is None
    assert Reign.of(Champion("3", warning="cannot be asked")) is None
