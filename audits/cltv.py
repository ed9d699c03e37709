"""How lifetime value is audited: whether every group is foreseen at its level, and as closely as the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.amount import Amounts
from audits.fairness import ModelAudit
from features.labels import outcomes

if TYPE_CHECKING:
    import datetime as dt

    import ibis

    from audits.fairness import Yardstick
    from audits.policy import Policy
    from audits.population import Population
    from features.project import Project
    from features.tables import CustomerTables


def answers(tables: CustomerTables, project: Project, date: dt.date, horizon_days: int) -> ibis.Table:  # noqa: ARG001 - one signature for all
    """Everybody with an order before `date`, and the revenue that followed."""
    return outcomes(tables, date, horizon_days=horizon_days)


def yardsticks(population: Population, policy: Policy) -> tuple[Yardstick, ...]:
    """The revenue that is expected."""
    return (Amounts.of(population, policy, "expected_value", "revenue", title="Expected revenue"),)


AUDIT = ModelAudit(answers, yardsticks)
"""Found by this name, as in every model's declaration."""
