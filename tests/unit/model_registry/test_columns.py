from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.columns import Scores
from model_registry.servable import Servable
from tests.support.bundles import columns, make_bundle, random_columns
from tests.support.scores import assert_same_scores


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return Servable(make_bundle(tmp_path_factory.mktemp("columns") / "bundle"))


CUSTOMERS = random_columns(60)


@given(cuts=st.sets(st.integers(1, 59)))
def test_slices_put_together_equal_scoring_at_once(servable: Servable, cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), 60]
    parts = [servable.score(CUSTOMERS.slice(*edge)) for edge in itertools.pairwise(edges)]
    assert_same_scores(Scores.concatenate(parts), servable.score(CUSTOMERS))


def test_warnings_come_in_one_order_whichever_slice_has_them_first(servable: Servable) -> None:
    frequency_first = columns((10, 99, "web"), (95, 2, "kiosk"), (-5, 99, "web"))
    parts = [servable.score(frequency_first.slice(at, at + 1)) for at in range(3)]
    together = Scores.concatenate(parts)
    assert [(warning.kind, warning.feature, warning.rows.tolist()) for warning in together.warnings] == [
        ("out_of_range", "frequency", [0, 2]),
        ("out_of_range", "recency_days", [1, 2]),
        ("unseen_category", "channel", [1]),
    ]
    assert_same_scores(together, servable.score(frequency_first))


@given(st.integers(0, 59))
def test_the_scores_of_one_are_those_of_a_table_of_one(servable: Servable, at: int) -> None:
    alone = CUSTOMERS.slice(at, at + 1)
    names = [output.name for output in servable.schema.outputs]
    assert_same_scores(Scores.of_one(servable.score_one(alone), names), servable.score(alone))


def test_a_slice_is_a_part_of_its_columns() -> None:
    part = CUSTOMERS.slice(10, 13)
    assert len(part) == 3
    np.testing.assert_array_equal(part.numeric, CUSTOMERS.numeric[10:13])
    np.testing.assert_array_equal(part.categorical, CUSTOMERS.categorical[10:13])
