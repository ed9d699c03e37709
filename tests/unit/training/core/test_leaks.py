"""A feature that knows the answer is named; an honest one is not."""

from __future__ import annotations

import numpy as np
import pytest

from model_registry.columns import Columns
from model_registry.schema import Feature
from tests.support.learning import LABEL, dataset
from training.core.dataset import Rows
from training.core.errors import TrainingError
from training.core.leaks import Suspect, find_suspects, require_acknowledged, single_feature_aucs

RANDOM = np.random.default_rng(4)
OUTCOME = (RANDOM.random(2000) < 0.2).astype(np.float32)


def suspects(values: np.ndarray, outcome: np.ndarray = OUTCOME) -> list[str]:
    """The suspects among a numeric feature of these values and one of pure chance."""
    features = (Feature("chance", "numeric"), Feature("suspect", "numeric"))
    chance = RANDOM.normal(size=len(outcome))
    rows = Rows(
        np.array([f"c{number}" for number in range(len(outcome))], object),
        np.full(len(outcome), np.datetime64("NaT"), "datetime64[D]"),
        Columns(np.column_stack([chance, values]).astype(np.float32), np.empty((len(outcome), 0), object)),
        {LABEL: outcome},
    )
    return [suspect.feature for suspect in find_suspects(rows, features)]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(OUTCOME, id="the label itself"),
        pytest.param(1 - OUTCOME, id="its opposite"),
        pytest.param(OUTCOME + RANDOM.normal(0, 0.2, len(OUTCOME)), id="a near copy"),
        pytest.param(np.where(OUTCOME == 1, 5.0, np.nan), id="filled in only after the outcome"),
        pytest.param(np.where(OUTCOME == 1, 0.5, RANDOM.choice([0.0, 1.0], len(OUTCOME))), id="a middle value"),
    ],
)
def test_a_copy_of_the_answer_is_a_suspect(values: np.ndarray) -> None:
    assert suspects(values) == ["suspect"]


def suspects_of_category(texts: np.ndarray) -> list[str]:
    vocabulary = tuple(sorted(set(texts.tolist()) - {""}))
    rows = Rows(
        np.array([f"c{number}" for number in range(len(OUTCOME))], object),
        np.full(len(OUTCOME), np.datetime64("NaT"), "datetime64[D]"),
        Columns(np.empty((len(OUTCOME), 0), np.float32), texts.astype(object)[:, None]),
        {LABEL: OUTCOME},
    )
    return [one.feature for one in find_suspects(rows, (Feature("code", "categorical", vocabulary=vocabulary),))]


def test_codes_that_tell_the_outcome_in_no_order_are_a_suspect() -> None:
    codes = 2 * RANDOM.integers(0, 60, len(OUTCOME)) + OUTCOME.astype(int)
    assert suspects_of_category(np.array([f"{code:03}" for code in codes])) == ["code"]
    assert suspects_of_category(np.array([f"{code:03}" if code % 2 else "" for code in codes])) == ["code"]


def test_a_category_of_each_customers_own_is_none() -> None:
    assert suspects_of_category(np.array([f"{number}" for number in range(len(OUTCOME))])) == []


def test_a_good_honest_feature_is_none() -> None:
    assert suspects(OUTCOME + RANDOM.normal(0, 0.7, len(OUTCOME))) == []


def test_a_category_that_names_the_outcome_is_a_suspect() -> None:
    features = (Feature("reason", "categorical", vocabulary=("left", "none")),)
    reason = np.where(OUTCOME == 1, "left", "none").astype(object)[:, None]
    rows = Rows(
        np.arange(len(OUTCOME)).astype(object),
        np.full(len(OUTCOME), np.datetime64("NaT"), "datetime64[D]"),
        Columns(np.empty((len(OUTCOME), 0), np.float32), reason),
        {LABEL: OUTCOME},
    )
    assert [suspect.feature for suspect in find_suspects(rows, features)] == ["reason"]


def test_a_name_for_every_customer_is_no_knowledge() -> None:
    """In its own rows such a feature knows all; on customers it was not fitted on, nothing."""
    assert suspects(np.arange(len(OUTCOME))) == []


def test_a_quantity_is_a_label_too() -> None:
    revenue = RANDOM.lognormal(3, 1, 2000).astype(np.float32)
    assert suspects(revenue * 1.01, outcome=revenue) == ["suspect"]


def test_honest_behaviour_is_measured_and_passes() -> None:
    data = dataset()
    aucs = single_feature_aucs(data.train, data.features, LABEL)
    assert set(aucs) == {"recency_days", "channel", "spend", "gap_days"}
    assert aucs["recency_days"] > 0.65 > aucs["gap_days"] > 0.4
    assert find_suspects(data.train, data.features) == ()


def test_one_outcome_alone_says_nothing() -> None:
    assert suspects(np.zeros(50), outcome=np.zeros(50, np.float32)) == []


def test_a_suspect_blocks_with_its_figure_and_both_remedies() -> None:
    found = [Suspect("reason", LABEL, 0.987), Suspect("bill", LABEL, 0.961)]
    with pytest.raises(TrainingError) as refusal:
        require_acknowledged(found, ["bill"])
    text = str(refusal.value)
    assert "reason (AUC 0.987 for churned)" in text
    assert 'training.drop_features = ["reason"]' in text
    assert 'training.acknowledge_leaks = ["reason"]' in text
    assert "bill" not in text
    require_acknowledged(found, ["reason", "bill"])
