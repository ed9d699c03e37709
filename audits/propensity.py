"""How propensity is audited: whom an offer reaches, for each of the purchases that are foreseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.fairness import ModelAudit
from audits.policy import EXPOSURE_RATIO
from audits.probability import Probabilities
from features.labels import outcomes

if TYPE_CHECKING:
    import datetime as dt

    import ibis

    from audits.fairness import Yardstick
    from audits.policy import Policy
    from audits.population import Population
    from features.project import Project
    from features.tables import CustomerTables
    from model_registry.schema import Output

RESPONSE = "response_probability"


def answers(tables: CustomerTables, project: Project, date: dt.date, horizon_days: int) -> ibis.Table:  # noqa: ARG001 - the tables know the categories
    """Everybody with an order before `date`, and what they bought after it."""
    return outcomes(tables, date, horizon_days=horizon_days)


def yardsticks(population: Population, policy: Policy) -> tuple[Yardstick, ...]:
    """Every output whose answer the tables tell."""
    outputs = [one for one in population.manifest.schema.outputs if _label(one) in population.labels]
    return tuple(
        Probabilities.of(population, policy, one.name, _label(one), title=_title(one), gates=(EXPOSURE_RATIO,))
        for one in outputs
    )


def _label(output: Output) -> str:
    if output.category:
        return f"purchased[{output.category}]"
    return "responded" if output.name == RESPONSE else "purchased"


def _title(output: Output) -> str:
    if output.name == RESPONSE:
        return "Probability to respond to a campaign"
    return f"Probability to buy {output.category}" if output.category else "Probability to buy anything"


AUDIT = ModelAudit(answers, yardsticks)
"""Found by this name, as in every model's declaration."""
