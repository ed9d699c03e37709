"""The model learns what is there to learn, at the newest level, and its bounds keep what they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.spending import DATES, LABEL, dataset, tuned
from training.cltv.regressor import BOUND_GRID, BOUND_LEARNING, GRID, INTERVAL_LEVEL, LEARNING, tune
from training.core.baselines import RECENCY_FEATURE
from training.core.dataset import design_matrix
from training.core.errors import TrainingError
from training.core.value_metrics import ValueBootstrap

DATA = dataset()
ALLOWED = {"tweedie", "quantile", "poisson", "binary", "regression"}
"""Objectives that a graph keeps exactly."""


def newest() -> np.ndarray:
    return np.asarray(DATA.train.dates == np.datetime64(DATES[1]))


def test_it_ranks_customers_of_a_later_date_and_foresees_their_total() -> None:
    foreseen = tuned().amounts.foreseen(design_matrix(DATA.test.columns, DATA.features))
    metrics = ValueBootstrap(DATA.test.labels[LABEL].astype(np.float64), resamples=10).intervals(foreseen)
    assert metrics["gini"].estimate > 0.8
    assert metrics["aggregate_ratio"].estimate == pytest.approx(1.0, abs=0.1)
    assert metrics["coverage"].estimate == pytest.approx(INTERVAL_LEVEL, abs=0.04)


def test_held_out_customers_of_the_newest_snapshot_are_at_its_level() -> None:
    assert len(tuned().held_out) == newest().sum()
    assert tuned().held_out.sum() == pytest.approx(DATA.train.labels[LABEL][newest()].sum(), rel=1e-5)


def test_bounds_keep_their_promise_on_customers_who_were_held_out() -> None:
    assert tuned().coverage == pytest.approx(INTERVAL_LEVEL, abs=0.01)


def test_where_prices_rose_the_level_is_the_new_one() -> None:
    """The same customers pay three times as much at the newest snapshot; both together would be a third too low."""
    raised = np.where(newest(), 3.0, 1.0).astype(np.float32) * DATA.train.labels[LABEL]
    rows = replace(DATA.train, labels={LABEL: raised})
    model = tune(rows, DATA.features, LABEL, lambda _: None, GRID[:1])
    assert model.held_out.sum() == pytest.approx(raised[newest()].sum(), rel=1e-5)


def test_a_currency_of_small_units_changes_nothing_but_the_unit() -> None:
    scale = 1e6
    matrix = design_matrix(dataset(scale=scale).test.columns, dataset(scale=scale).features)
    large, small = tuned(), tuned(scale)
    assert large.parameters["trees"] == pytest.approx(small.parameters["trees"], rel=0.1)
    expected = large.amounts.foreseen(design_matrix(DATA.test.columns, DATA.features)).expected
    assert small.amounts.foreseen(matrix).expected / scale == pytest.approx(expected, rel=0.05)


def test_where_nearly_all_spend_nothing_nobody_is_promised_more() -> None:
    """One in eight spends anything: the lower bound is nothing, and the upper one still says who may spend."""
    random = np.random.default_rng(1)
    rare = np.where(random.random(len(DATA.train)) < 0.2, DATA.train.labels[LABEL], 0.0).astype(np.float32)
    model = tune(replace(DATA.train, labels={LABEL: rare}), DATA.features, LABEL, lambda _: None, GRID[:1])
    foreseen = model.amounts.foreseen(design_matrix(DATA.test.columns, DATA.features))
    assert model.coverage >= 0.89
    assert (foreseen.lower == 0).mean() > 0.95
    assert (foreseen.upper >= foreseen.expected).all()
    assert (foreseen.upper > foreseen.expected).mean() > 0.3


def test_where_everybody_pays_the_same_there_is_nothing_to_foresee() -> None:
    same = replace(DATA.train, labels={LABEL: np.full(len(DATA.train), 30.0, np.float32)})
    with pytest.raises(TrainingError, match="no feature tells customers apart"):
        tune(same, DATA.features, LABEL, lambda _: None, GRID[:1])


def test_where_the_past_misleads_it_says_so() -> None:
    """Who spent much goes on to at the old snapshot, and to nothing at the new one."""
    recency = DATA.train.columns.numeric[:, 0]
    amounts = np.where(newest(), 200.0 - recency, 2.0 * recency).clip(0).astype(np.float32)
    random = np.random.default_rng(0)
    old = replace(DATA.train, labels={LABEL: amounts})
    few = np.flatnonzero(~newest() | (random.random(len(newest())) < 0.1))
    with pytest.raises(TrainingError, match="does not rank customers"):
        tune(old.at(few), DATA.features, LABEL, lambda _: None, GRID[:1])


def test_objectives_are_those_that_a_graph_keeps_and_powers_are_compared_by_one_loss() -> None:
    assert {LEARNING["objective"], BOUND_LEARNING["objective"]} <= ALLOWED
    assert LEARNING["metric"] == "poisson"
    assert all(1.0 < float(candidate["tweedie_variance_power"]) < 2.0 for candidate in GRID)


def test_every_candidate_is_announced_and_parameters_tell_of_all_three_boosters() -> None:
    lines: list[str] = []
    again = tune(DATA.train, DATA.features, LABEL, lines.append, GRID[:2])
    assert len(lines) == 2 + 2 * len(BOUND_GRID)
    assert {"trees", "lower_trees", "upper_trees", "tweedie_variance_power"} <= set(again.parameters)
    assert again.parameters == tuned().parameters
    for one, other in zip(
        (again.amounts.expected, again.amounts.lower, again.amounts.upper),
        (tuned().amounts.expected, tuned().amounts.lower, tuned().amounts.upper),
        strict=True,
    ):
        assert (one.slope, one.intercept) == (other.slope, other.intercept)
        assert one.booster.model_to_string() == other.booster.model_to_string()


def test_importances_are_shares_that_know_what_matters() -> None:
    assert sum(tuned().importances.values()) == pytest.approx(1.0)
    assert max(tuned().importances, key=tuned().importances.__getitem__) in {"spend_90d", RECENCY_FEATURE}
