"""Inputs as numbers, and what they tell of a group."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from audits.inputs import RARE, Design
from model_registry.columns import MISSING_CATEGORY, Columns
from model_registry.schema import Feature, Output, Schema

ROWS = 200
RANDOM = np.random.default_rng(6)
GAPS = np.where(np.arange(ROWS) % 4, RANDOM.lognormal(3.0, 2.0, ROWS), np.nan)
TOWNS = np.where(np.arange(ROWS) < RARE - 1, "hamlet", np.where(np.arange(ROWS) % 2, "city", MISSING_CATEGORY))
SCHEMA = Schema(
    (
        Feature("spend", "numeric"),
        Feature("gap", "numeric"),
        Feature("same", "numeric"),
        Feature("never", "numeric"),
        Feature("town", "categorical"),
    ),
    (Output("churn_probability", "probability"),),
)
SPEND = RANDOM.normal(size=ROWS) * 100.0
NUMERIC = np.stack([SPEND, GAPS, np.full(ROWS, 7.0), np.full(ROWS, np.nan)], axis=1).astype(np.float32)
DESIGN = Design.of(Columns(NUMERIC, TOWNS.astype(object)[:, None]), SCHEMA)


def test_every_input_that_varies_has_columns_on_one_scale() -> None:
    # The gap, and a mark where there is none; a town of its own for those who have enough customers.
    assert DESIGN.features == ("spend", "gap", "gap", "town", "town")
    assert DESIGN.matrix.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-9)
    assert DESIGN.matrix.std(axis=0) == pytest.approx(np.ones(5))


def test_what_is_missing_is_in_the_middle_and_marked() -> None:
    missing = np.isnan(GAPS)
    gap, mark = DESIGN.matrix[:, 1], DESIGN.matrix[:, 2]
    assert len(np.unique(gap[missing])) == 1
    assert (gap[~missing] < gap[missing][0]).mean() == pytest.approx(0.5, abs=0.01)
    assert mark[missing].min() > mark[~missing].max()


def test_where_nothing_varies_there_is_no_column() -> None:
    nothing = Design.of(Columns(np.ones((3, 1), np.float32), np.empty((3, 0), object)), Schema(SCHEMA.features[:1], ()))
    assert nothing.features == ()
    assert nothing.matrix.shape == (3, 0)


def test_an_input_leaves_with_all_its_columns() -> None:
    rest = DESIGN.without({"gap"})
    assert rest.features == ("spend", "town", "town")
    assert (rest.matrix == DESIGN.matrix[:, [0, 3, 4]]).all()


def test_inputs_tell_a_group_as_their_auc_says_either_way_round() -> None:
    members = SPEND + RANDOM.normal(size=ROWS) * 100.0 < 0
    others = ~members & (np.arange(ROWS) % 5 > 0)
    told = DESIGN.telling(members, others)
    either = members | others
    assert next(iter(told)) == "spend"
    assert told["spend"] == pytest.approx(1.0 - roc_auc_score(members[either], SPEND[either]), abs=1e-6)
    assert set(told) == {"spend", "gap", "town"}
    assert list(told.values()) == sorted(told.values(), reverse=True)
    assert min(told.values()) >= 0.5
