"""How segments are audited: whether groups are found in them in equal parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.fairness import ModelAudit
from audits.segment import Segments
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
    """Everybody with an order before `date`; segments foresee nothing, so there is no label."""
    return outcomes(tables, date, horizon_days=horizon_days).select("customer")


def yardsticks(population: Population, policy: Policy) -> tuple[Yardstick, ...]:
    """The segment."""
    return (Segments.of(population, policy, "cluster_id", title="Segment"),)


AUDIT = ModelAudit(answers, yardsticks, foresees=False)
"""Found by this name, as in every model's declaration."""
