"""Whether there is enough to learn from. A model trained on noise is worse than none.

Every gate counts customers and not rows: the same one at several snapshots is no more evidence than one. That the data
reaches the day it is learnt at, `History.of` sees to; that it holds three horizons, `plan_windows`.

| what | least | why |
|---|---|---|
| customers of each outcome to train on | 100 | Segment asks for as many of either |
| customers of each outcome to test on | 30 | an AUC of .8 then has a 95 % interval of .11 either way |
| customers, where all of them are described | 500 | Klaviyo asks for as many before it foresees values |
| customers who ordered twice | 100 | only they show a rhythm, and it is an outcome like any other |
| customers who paid | 100 and 30 | as for outcomes: an amount is learnt from those who spent one |
| days of history, where value is foreseen | 180 | Klaviyo asks for as many; fewer hold one season at most |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.core.errors import NotEligibleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model_registry.schema import Feature
    from training.core.dataset import Rows

MINIMUM_TRAINING = 100
MINIMUM_TEST = 30
MINIMUM_CUSTOMERS = 500
MINIMUM_REPEAT_BUYERS = 100
MINIMUM_HISTORY_DAYS = 180

ORDERS_FEATURE = "frequency"
LATER = "train again when there is more data"
MORE = f"{LATER}, or raise training.most_customers where a sample is learnt from"


def require_both_outcomes(part: str, rows: Rows, label: str, minimum: int, *, remedy: str = MORE) -> None:
    """Raises NotEligibleError where customers with the outcome, or without it, are too few in this part of the data."""
    outcome = rows.labels[label] > 0
    positives, negatives = _count(rows, outcome), _count(rows, ~outcome)
    if min(positives, negatives) < minimum:
        raise NotEligibleError(
            f"the {part} holds {positives:,} customers with the outcome '{label}' and {negatives:,} without it, and "
            f"needs {minimum:,} of each; {remedy}"
        )


def require_customers(part: str, rows: Rows, minimum: int = MINIMUM_CUSTOMERS, *, remedy: str = MORE) -> None:
    """Raises NotEligibleError where there are too few customers."""
    _require(part, _count(rows, np.full(len(rows), fill_value=True)), "customers", minimum, remedy)


def require_repeat_buyers(
    part: str,
    rows: Rows,
    features: Sequence[Feature],
    minimum: int = MINIMUM_REPEAT_BUYERS,
    *,
    remedy: str = MORE,
) -> None:
    """Raises NotEligibleError where too few customers had ordered twice by a snapshot.

    `features` are the dataset's. Where the project drops `frequency`, orders are not known and nobody is refused.
    """
    names = [feature.name for feature in features if feature.kind == "numeric"]
    if ORDERS_FEATURE in names:
        repeated = rows.columns.numeric[:, names.index(ORDERS_FEATURE)] > 1
        _require(part, _count(rows, repeated), "customers with two orders", minimum, remedy)


def require_revenue(part: str, rows: Rows, label: str, minimum: int, *, remedy: str = MORE) -> None:
    """Raises NotEligibleError where too few customers spent anything; `label` is the money they spent."""
    _require(part, _count(rows, rows.labels[label] > 0), "customers who paid something", minimum, remedy)


def require_history(days: int, minimum: int = MINIMUM_HISTORY_DAYS) -> None:
    """Raises NotEligibleError where the history is too short; `days` is that of `History`."""
    if days < minimum:
        raise NotEligibleError(f"the data covers {days:,} days, and {minimum:,} are needed; {LATER}")


def _count(rows: Rows, mask: NDArray[np.bool_]) -> int:
    return len(set(rows.customer_ids[mask]))


def _require(part: str, count: int, what: str, minimum: int, remedy: str) -> None:
    if count < minimum:
        raise NotEligibleError(f"the {part} holds {count:,} {what}, and needs {minimum:,}; {remedy}")
