"""The gates: who is counted, where the line lies, and what is said below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_registry.columns import Columns
from model_registry.schema import Feature
from training.core.dataset import Rows
from training.core.eligibility import (
    require_both_outcomes,
    require_customers,
    require_history,
    require_repeat_buyers,
    require_revenue,
)
from training.core.errors import NotEligibleError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

LABEL = "bought"
FEATURES = (
    Feature("favourite", "categorical"),
    Feature("recency_days", "numeric"),
    Feature("frequency", "numeric"),
)


def rows(labels: ArrayLike, orders: ArrayLike = 0) -> Rows:
    """A customer a label, twice over: as at two snapshots."""
    values = np.asarray(labels, np.float32)
    numeric = np.zeros((len(values), 2), np.float32)
    numeric[:, 1] = orders
    ids = np.array([f"c{number}" for number in range(len(values))], object)
    texts = np.full((len(values), 1), "tea", object)
    once = Rows(ids, np.full(len(values), "2024-01-01", "datetime64[D]"), Columns(numeric, texts), {LABEL: values})
    return Rows.concatenate([once, once])


@given(st.lists(st.sampled_from([0.0, 1.0]), max_size=12), st.integers(1, 6))
def test_both_outcomes_need_as_many_customers_each(labels: list[float], minimum: int) -> None:
    part = rows(labels)
    if min(labels.count(0.0), labels.count(1.0)) >= minimum:
        require_both_outcomes("test part", part, LABEL, minimum)
        return
    with pytest.raises(NotEligibleError) as refused:
        require_both_outcomes("test part", part, LABEL, minimum)
    assert f"holds {labels.count(1.0)} customers with the outcome '{LABEL}' and {labels.count(0.0)} without" in str(
        refused.value
    )
    assert f"needs {minimum} of each; train again when there is more data" in str(refused.value)


def test_the_remedy_is_the_models_own() -> None:
    with pytest.raises(NotEligibleError, match=r"needs 1 of each; lengthen propensity\.horizon_days"):
        require_both_outcomes("test part", rows([0.0]), LABEL, 1, remedy="lengthen propensity.horizon_days")


def test_customers_are_counted_and_not_rows() -> None:
    require_customers("training part", rows(np.zeros(5)), 5)
    with pytest.raises(NotEligibleError, match="the training part holds 4 customers, and needs 500; train again"):
        require_customers("training part", rows(np.zeros(4)))


def test_a_repeat_buyer_had_ordered_twice() -> None:
    part = rows(np.zeros(4), orders=[0, 1, 2, np.nan])
    require_repeat_buyers("training part", part, FEATURES, 1)
    with pytest.raises(NotEligibleError, match="holds 1 customers with two orders, and needs 2"):
        require_repeat_buyers("training part", part, FEATURES, 2)


def test_where_the_project_drops_orders_nobody_is_refused_for_them() -> None:
    require_repeat_buyers("training part", rows(np.zeros(4)), FEATURES[:2], 100)


def test_revenue_is_money_that_was_paid() -> None:
    part = rows([0.0, 0.0, 12.5])
    require_revenue("test part", part, LABEL, 1)
    with pytest.raises(NotEligibleError, match="the test part holds 1 customers who paid something, and needs 30"):
        require_revenue("test part", part, LABEL, 30)


def test_a_short_history_is_told_in_days() -> None:
    require_history(180)
    with pytest.raises(NotEligibleError, match="the data covers 179 days, and 180 are needed"):
        require_history(179)
