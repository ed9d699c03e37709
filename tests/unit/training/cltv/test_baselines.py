"""The rules that must be beaten are given a fair chance."""

from __future__ import annotations

import numpy as np
import pytest

from model_registry.columns import Columns
from model_registry.schema import Feature
from tests.support.spending import HORIZON, LABEL, dataset
from training.cltv.baselines import rhythm, spend_rate
from training.core.value_metrics import ValueBootstrap

WINDOWS = tuple(Feature(name, "numeric") for name in ("spend_30d", "spend_90d", "spend_180d"))
SPENT = Columns(np.array([[10, 60, 90], [-5, 30, 30]], np.float32), np.empty((2, 0), object))


@pytest.mark.parametrize(
    ("horizon", "expected"),
    [(30, [10, 0]), (45, [15, 0]), (60, [40, 20]), (90, [60, 30]), (180, [90, 30]), (365, [182.5, 60.8333])],
)
def test_spend_goes_on_as_in_the_window_nearest_to_the_horizon(horizon: int, expected: list[float]) -> None:
    found = spend_rate(SPENT, WINDOWS, horizon)
    assert found is not None
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_where_the_window_is_dropped_the_next_one_serves_and_without_any_there_is_no_rule() -> None:
    kept = Columns(SPENT.numeric[:, :1], SPENT.categorical)
    found = spend_rate(kept, WINDOWS[:1], 180)
    assert found is not None
    assert found.tolist() == pytest.approx([60, 0])
    assert spend_rate(kept, (Feature("recency_days", "numeric"),), 180) is None


def test_in_a_world_of_its_own_the_rhythm_ranks_well_and_is_at_the_level() -> None:
    data = dataset()
    amounts = data.test.labels[LABEL].astype(np.float64)
    bootstrap = ValueBootstrap(amounts, resamples=100)
    found, rate = (rule(data.test.columns, data.features, HORIZON) for rule in (rhythm, spend_rate))
    assert found is not None
    assert rate is not None
    metrics = bootstrap.values(found)
    assert metrics["gini"].minus(bootstrap.values(rate)["gini"]).interval().low > 0
    assert metrics["aggregate_ratio"].estimate == pytest.approx(1.0, abs=0.1)


def test_most_customers_tell_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset()
    whole = rhythm(data.test.columns, data.features, HORIZON)
    monkeypatch.setattr("training.cltv.baselines.FITTED", 700)
    part = rhythm(data.test.columns, data.features, HORIZON)
    assert whole is not None
    assert part is not None
    assert len(part) == len(whole)
    assert np.corrcoef(part, whole)[0, 1] > 0.99


@pytest.mark.parametrize("dropped", ["frequency", "recency_days", "tenure_days", "order_value_mean"])
def test_without_its_features_there_is_no_rhythm(dropped: str) -> None:
    data = dataset()
    features = tuple(feature for feature in data.features if feature.name != dropped)
    assert rhythm(data.test.columns, features, HORIZON) is None


def test_customers_who_paid_nothing_are_expected_to_go_on_so() -> None:
    data = dataset()
    numeric = data.test.columns.numeric.copy()
    numeric[:100, 4] = 0.0
    found = rhythm(Columns(numeric, data.test.columns.categorical), data.features, HORIZON)
    assert found is not None
    assert np.isfinite(found).all()
    assert found[:100].mean() < 0.5 * found[100:].mean()
