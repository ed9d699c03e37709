"""The booster learns what is there to learn, says it at the right level, and says so where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model_registry.columns import Columns
from model_registry.schema import Feature
from tests.support.learning import HORIZON, LABEL, dataset
from training.core.classifier import GRID, Tuned, tune
from training.core.dataset import Rows, design_matrix
from training.core.errors import TrainingError

DATA = dataset()


def fit() -> Tuned:
    return tune(DATA.train, DATA.features, LABEL, HORIZON, lambda _: None)


TUNED = fit()


def test_it_ranks_customers_of_a_later_date() -> None:
    probabilities = TUNED.model.probabilities(design_matrix(DATA.test.columns, DATA.features))
    assert roc_auc_score(DATA.test.labels[LABEL], probabilities) > 0.75


def test_held_out_probabilities_are_at_the_level_of_their_outcomes() -> None:
    assert TUNED.held_out.mean() == pytest.approx(TUNED.outcomes.mean(), abs=1e-6)
    assert len(TUNED.held_out) == 1200, "two of three snapshots can be predicted from the past"


def test_the_line_is_of_float32_numbers() -> None:
    for number in (TUNED.model.slope, TUNED.model.intercept):
        assert number == float(np.float32(number))


def test_the_winner_is_of_the_grid_and_every_candidate_is_announced() -> None:
    lines: list[str] = []
    tune(DATA.train, DATA.features, LABEL, HORIZON, lines.append)
    assert len(lines) == len(GRID)
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines]
    winner = {name: TUNED.parameters[name] for name in GRID[0]}
    assert losses[GRID.index(winner)] == min(losses)


def test_importances_are_shares_that_know_what_matters() -> None:
    assert sum(TUNED.importances.values()) == pytest.approx(1.0)
    assert max(TUNED.importances, key=TUNED.importances.__getitem__) == "recency_days"


def test_the_same_data_give_the_same_booster() -> None:
    again = fit()
    assert again.model.booster.model_to_string() == TUNED.model.booster.model_to_string()
    assert (again.model.slope, again.model.intercept) == (TUNED.model.slope, TUNED.model.intercept)


def test_where_the_past_misleads_it_says_so() -> None:
    """Who was long away used to leave, and now stays: what was learnt ranks the wrong way round."""
    random = np.random.default_rng(9)
    recency = random.exponential(30.0, 2000).astype(np.float32)
    dates = np.repeat(np.array(["2017-03-01", "2017-04-01"], "datetime64[D]"), 1000)
    long_away = np.where(dates == dates[0], recency > 20, recency < 20)
    outcome = np.where(random.random(2000) < 0.2, random.random(2000) < 0.5, long_away).astype(np.float32)
    rows = Rows(
        np.arange(2000).astype(object),
        dates,
        Columns(recency[:, None], np.empty((2000, 0), object)),
        {LABEL: outcome},
    )
    with pytest.raises(TrainingError, match="does not rank customers"):
        tune(rows, (Feature("recency_days", "numeric"),), LABEL, HORIZON, lambda _: None)
