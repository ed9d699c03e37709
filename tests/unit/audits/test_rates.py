"""The audit of the audit: how often it fires where bias is planted, and how often where there is none.

Worlds are drawn with fixed seeds, so the rates are the same on every run. `docs/audits.md` states them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from audits import churn, cltv, clustering, propensity
from audits.fairness import judge
from audits.statistics import Verdict
from tests.support.worlds import churn_world, cltv_world, clustering_world, partition, policy, propensity_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from audits.fairness import Finding
    from audits.population import Population


@dataclass(frozen=True)
class Model:
    """How a model's worlds are made, and what a planted bias shows as."""

    declaration: ModuleType
    world: Callable[..., Population]
    metrics: frozenset[str]
    worlds: int


MODELS = {
    "churn": Model(churn, churn_world, frozenset({"tpr_gap", "observed_expected"}), 100),
    "propensity": Model(propensity, propensity_world, frozenset({"exposure_ratio"}), 200),
    "cltv": Model(cltv, cltv_world, frozenset({"total_ratio", "error_ratio"}), 50),
    "clustering": Model(clustering, clustering_world, frozenset({"cramers_v", "cluster_ratio"}), 50),
}


pytestmark = pytest.mark.usefixtures("few_resamples")


def failures(model: Model, seed: int, rows: int, shift: float) -> list[Finding]:
    population = model.world(seed, rows, shift)
    limits = policy()
    findings = judge(population, model.declaration.yardsticks(population, limits), limits)
    return [one for one in findings if one.verdict is Verdict.FAIL]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_an_honest_model_seldom_fails(model: Model) -> None:
    alarms = sum(bool(failures(model, seed, 4000, 0.0)) for seed in range(model.worlds))
    assert alarms / model.worlds <= 0.05


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_planted_bias_is_found_and_named(model: Model) -> None:
    found = 0
    for seed in range(model.worlds):
        failed = failures(model, seed, 4000, 1.0)
        found += any((one.attribute, one.group) == ("region", "west") for one in failed)
        assert {one.metric for one in failed} <= model.metrics
        # Nobody else is blamed.
        assert all("west" in one.group for one in failed)
    assert found / model.worlds >= 0.9


def test_seven_attributes_with_dozens_of_groups_do_not_fail_by_their_number() -> None:
    """Forty-two groups and 756 crossed ones, none of which the model treats differently."""
    worlds, limits = 20, policy()
    alarms = 0
    for seed in range(worlds):
        world = churn_world(seed, 4000)
        random = np.random.default_rng(1000 + seed)
        many = [partition(f"a{number}", random.choice(list("uvwxyz"), 4000).tolist()) for number in range(7)]
        world = replace(world, attributes=tuple(many))
        findings = judge(world, churn.yardsticks(world, limits), limits)
        assert len([one for one in findings if not one.crossed]) >= 42
        alarms += any(one.verdict is Verdict.FAIL for one in findings)
    assert alarms / worlds <= 0.05
