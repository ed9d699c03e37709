"""How churn is audited: whom a retention campaign reaches of those who leave, and whether the risk is what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.fairness import ModelAudit
from audits.policy import OBSERVED_EXPECTED, TPR_GAP
from audits.probability import Probabilities
from features.labels import churned

if TYPE_CHECKING:
    import datetime as dt

    import ibis

    from audits.fairness import Yardstick
    from audits.policy import Policy
    from audits.population import Population
    from features.project import Project
    from features.tables import CustomerTables


def answers(tables: CustomerTables, project: Project, date: dt.date, horizon_days: int) -> ibis.Table:
    """Who was a customer at `date`, and who of them left."""
    return churned(tables, date, horizon_days=horizon_days, active_days=project.churn.active_days)


def yardsticks(population: Population, policy: Policy) -> tuple[Yardstick, ...]:
    """The probability to leave."""
    gates = (TPR_GAP, OBSERVED_EXPECTED)
    leaving = Probabilities.of(
        population, policy, "churn_probability", "churned", title="Probability to leave", gates=gates
    )
    return (leaving,)


AUDIT = ModelAudit(answers, yardsticks, dated=lambda tables: tables.has_time_axis)
"""Found by this name, as in every model's declaration."""
