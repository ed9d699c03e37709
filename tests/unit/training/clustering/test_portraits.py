"""Portraits and moves, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.segments import GROUPS, HORIZON, dataset
from training.clustering.centroids import fit_centroids
from training.clustering.fifths import Fifths
from training.clustering.model import SegmentModel
from training.clustering.names import PERSONAS
from training.clustering.portraits import Migration, Portrait, last_snapshot, migrate, portray
from training.clustering.space import RECENCY, Space

EACH = 60
DATA = dataset(each=EACH)
BEFORE, AFTER = DATA.train.at(last_snapshot(DATA.train)), DATA.test
SPACE = Space.of(DATA.train.columns.numeric, HORIZON)
CENTROIDS = fit_centroids(SPACE.coordinates(DATA.train.columns.numeric), len(GROUPS), starts=5, seed=1)
MODEL = SegmentModel(SPACE, CENTROIDS, (1, 2, 3, 4), Fifths.of(BEFORE.columns.numeric))


def test_the_last_snapshot_holds_everybody_once() -> None:
    assert len(BEFORE) == len(set(BEFORE.customer_ids)) == len(GROUPS) * EACH
    assert set(BEFORE.dates) == {np.datetime64("2017-05-01")}


def test_a_portrait_tells_what_is_there() -> None:
    gallery = portray(MODEL, PERSONAS[:4], BEFORE, AFTER)
    best = gallery.portraits[0]
    numeric, labels = AFTER.columns.numeric[:EACH], {name: one[:EACH] for name, one in AFTER.labels.items()}
    assert (best.customers, best.share) == (EACH, 1 / len(GROUPS))
    assert best.typical[RECENCY] == pytest.approx(np.median(numeric[:, RECENCY]))
    assert best.silent.estimate == pytest.approx(1 - labels["purchased"].mean())
    assert best.silent.low < best.silent.estimate < best.silent.high
    assert best.value.estimate == pytest.approx(labels["revenue"].mean())
    assert best.value.low < best.value.estimate < best.value.high
    assert sum(one.revenue_share for one in gallery.portraits) == pytest.approx(1.0)
    assert sum(one.customers for one in gallery.portraits) == gallery.everybody.customers == len(AFTER)


def test_of_an_empty_segment_nothing_is_known() -> None:
    nobody = Portrait.of(AFTER, MODEL.fifths.scores(AFTER.columns.numeric), np.zeros(len(AFTER), bool))
    assert (nobody.customers, nobody.share, nobody.revenue_share) == (0, 0.0, 0.0)
    assert np.isnan(nobody.value.estimate)


def test_where_nobody_paid_revenue_has_no_parts() -> None:
    free = replace(AFTER, labels={**AFTER.labels, "revenue": np.zeros(len(AFTER), np.float32)})
    assert portray(MODEL, PERSONAS[:4], BEFORE, free).portraits[0].revenue_share == 0.0


def test_moves_are_counted_by_customer_and_newcomers_apart() -> None:
    # One of the best lapses, one is new, and one of the last has taken back consent.
    numeric = AFTER.columns.numeric.copy()
    numeric[0] = numeric[-1]
    after = replace(AFTER, columns=replace(AFTER.columns, numeric=numeric)).at(np.arange(len(AFTER) - 1))
    before = BEFORE.at(np.flatnonzero(BEFORE.customer_ids != "c00001"))
    migration = migrate(MODEL, before, after)
    assert migration.counts.tolist() == [
        [EACH - 2, 0, 0, 1],
        [0, EACH, 0, 0],
        [0, 0, EACH, 0],
        [0, 0, 0, EACH - 1],
        [1, 0, 0, 0],
    ]
    assert (migration.before, migration.after) == ("2017-05-01", "2017-06-01")
    assert migration.stayed == pytest.approx(1 - 1 / (4 * EACH - 2))
    assert migration.shares[0].sum() == pytest.approx(1.0)


def test_who_comes_from_nowhere_moves_nothing() -> None:
    migration = Migration("a", "b", np.array([[3, 1], [0, 0], [0, 0]]))
    assert migration.shares.tolist() == [[0.75, 0.25], [0.0, 0.0], [0.0, 0.0]]
