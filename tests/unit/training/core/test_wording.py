"""The words of the card: each output for what it is, each limit as it was set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_registry.schema import Feature, Output, PopulationRule, Status
from tests.support.cards import cltv, propensity
from training.core.wording import (
    amounts,
    between,
    meaning,
    measured_in,
    metric_meaning,
    metric_name,
    population_rule,
    purpose,
)

MEANINGS = {"auc": "AUC: how often", "brier": "Brier score"}


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("auc", "AUC: how often"),
        ("auc[MEAT]", "AUC for MEAT: how often"),
        ("brier[MEAT]", "Brier score for MEAT"),
        ("mean_gap", "Mean gap"),
        ("mean_gap[MEAT]", "Mean gap for MEAT"),
    ],
)
def test_a_metric_is_explained_and_a_part_of_it_named(metric: str, told: str) -> None:
    assert metric_meaning(MEANINGS, metric) == told
    assert metric_name(MEANINGS, metric) == told.partition(":")[0]


def test_limits_are_as_round_as_they_were_set() -> None:
    assert between(0.75, 0.85) == "at least 0.75 and at most 0.85"
    assert between(None, 1500.0) == "at most 1,500"
    assert between(1.0, None) == "at least 1"


def test_a_rule_of_a_feature_without_words_is_told_without_them() -> None:
    rule = PopulationRule("frequency", Status.INSUFFICIENT_HISTORY, minimum=1.0)
    told = population_rule(rule, Feature("frequency", "numeric"))
    assert told == "frequency is at least 1; the others are answered INSUFFICIENT_HISTORY, without a score"


def test_what_a_model_or_an_output_of_another_name_is_for_is_told_by_its_name() -> None:
    manifest = replace(cltv().manifest, name="returns")
    assert purpose(manifest) == "Scores customers with expected_value, lower_bound, upper_bound."
    assert meaning(Output("return_rate", "share"), manifest) == "Return rate, in share"
    assert measured_in(Output("return_rate", "share")) == ", in share"


def test_only_what_is_foreseen_has_a_horizon() -> None:
    manifest = propensity().manifest
    assert meaning(Output("response_probability", "probability"), manifest).endswith("campaign within 30 days")
    assert "days" not in meaning(Output("recency_score", "quintile"), manifest)
    assert "days" not in meaning(Output("purchase_probability", "probability"), replace(manifest, horizon_days=0))


def test_money_has_separators_and_probabilities_three_decimals() -> None:
    assert amounts([0.0, 1234567.891], "EUR") == ["0", "1,234,568"]
    assert amounts([0.0, 3.21987], "scaled units") == ["0.00", "3.22"]
    assert amounts([0.5], "probability") == ["0.500"]
    assert amounts([], "EUR") == []
