"""The number of segments: the true one where there is one, and none where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from tests.support.segments import CHAMPIONS, GROUPS, HORIZON, dataset, truth
from training.clustering import choice
from training.clustering.choice import Candidate, Silhouettes, candidates, choose, recoveries
from training.clustering.space import Space
from training.core.errors import NotEligibleError

if TYPE_CHECKING:
    from training.core.dataset import Dataset

EACH = 60


@pytest.fixture(autouse=True)
def fewer_refits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "REFITS", 6)
    monkeypatch.setattr(choice, "STARTS", 5)


def tried(data: Dataset) -> list[Candidate]:
    rows = data.train
    coordinates = Space.of(rows.columns.numeric, HORIZON).coordinates(rows.columns.numeric)
    return list(candidates(coordinates, rows.customer_ids, rows.dates == rows.dates.max(), lambda _: None))


def candidate(k: int, silhouette: float, *, stability: float = 0.9, recovery: float = 0.9) -> Candidate:
    return Candidate(np.zeros((k, 3)), np.array([stability]), recovery, 0.1, silhouette)


def test_the_true_number_of_groups_is_found() -> None:
    chosen = choose(tried(dataset(each=EACH)), None)
    assert chosen.k == len(GROUPS)
    assert chosen.stability == pytest.approx(1.0)
    assert chosen.recovery == pytest.approx(1.0)
    assert chosen.smallest == pytest.approx(1 / len(GROUPS))


def test_one_homogeneous_group_is_refused_with_all_figures() -> None:
    with pytest.raises(NotEligibleError, match=r"3 segments: stability .* 8 segments: stability .*train again"):
        choose(tried(dataset((CHAMPIONS,), each=5 * EACH)), None)


def test_whoever_stands_apart_alone_is_no_segment() -> None:
    data = dataset(each=EACH)
    numeric = data.train.columns.numeric.copy()
    numeric[data.train.customer_ids == "c00000"] = (0.0, 1e7, 1e12)
    columns = replace(data.train.columns, numeric=numeric)
    found = tried(replace(data, train=replace(data.train, columns=columns)))
    alone = [one for one in found if one.smallest < 2 / (4 * EACH)]
    assert alone
    assert not any(one.passes for one in alone)


def test_a_group_cut_in_two_anywhere_does_not_come_back() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 200)
    cuts = [np.where((groups == 2) & (random.random(600) < 0.5), 3, groups) for _ in range(2)]
    assert recoveries(cuts[0], cuts[1], 4).min() < choice.RECOVERED


def test_recovery_does_not_depend_on_labels() -> None:
    assert recoveries(truth(), 3 - truth(), 4).tolist() == [1.0] * 4


def test_an_empty_segment_is_found_nowhere() -> None:
    assert recoveries(np.zeros(5, np.intp), np.zeros(5, np.intp), 3).tolist() == [1.0, 0.0, 0.0]


def test_the_most_segments_win_that_are_nearly_as_well_apart() -> None:
    assert choose([candidate(3, 0.5), candidate(4, 0.45), candidate(5, 0.39)], None).k == 4


def test_unstable_segments_are_not_looked_at() -> None:
    assert choose([candidate(3, 0.3), candidate(4, 0.9, stability=0.8)], None).k == 3
    assert choose([candidate(3, 0.3), candidate(4, 0.9, recovery=0.7)], None).k == 3


def test_the_number_of_the_champion_stays_while_it_is_among_the_good() -> None:
    found = [candidate(3, 0.5), candidate(4, 0.45), candidate(5, 0.39)]
    assert choose(found, 3).k == 3
    assert choose(found, 5).k == 4


def test_the_number_of_the_champion_gives_way_to_one_that_is_clearly_better_apart() -> None:
    assert choose([candidate(3, 0.5), candidate(4, 0.54)], 3).k == 3
    assert choose([candidate(3, 0.5), candidate(4, 0.56)], 3).k == 4


def test_silhouettes_are_those_of_the_book() -> None:
    numeric = dataset(each=20).test.columns.numeric
    coordinates = Space.of(numeric, HORIZON).coordinates(numeric)
    ours = Silhouettes.of(coordinates).of_segments(truth(each=20))
    assert ours.mean() == pytest.approx(silhouette_score(coordinates, truth(each=20)))


def test_one_segment_for_all_separates_nobody() -> None:
    apart = Silhouettes.of(np.random.default_rng(0).normal(size=(20, 3)))
    assert not apart.of_segments(np.zeros(20, np.intp)).any()


def test_of_many_customers_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SILHOUETTE_ROWS", 50)
    apart = Silhouettes.of(np.random.default_rng(0).normal(size=(200, 3)))
    assert len(apart.rows) == len(set(apart.rows)) == 50
    assert apart.distances.shape == (50, 50)
