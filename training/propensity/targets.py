"""What is foreseen: a purchase of anything, of each category that the project names, a response to a campaign."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ibis import _

from features.engine import run
from features.history import moment
from training.core.baselines import repeat_scores
from training.core.errors import TrainingError

if TYPE_CHECKING:
    import datetime as dt

    import ibis

    from features.project import Project
    from training.core.judge import Rule

NEAREST = 3
LISTED = 20


@dataclass(frozen=True)
class Target:
    """An outcome that gets an output of its own.

    `label` is what answers it, `recency` the feature that tells how long ago it last happened, `subject` how people
    are told of it.
    """

    label: str
    output: str
    recency: str
    subject: str
    category: str = ""

    @property
    def rule(self) -> Rule:
        """What marketers do without a model: the shorter ago, the likelier again."""
        return partial(repeat_scores, recency=self.recency)


PURCHASE = Target("purchased", "purchase_probability", "recency_days", "purchases")
RESPONSE = Target("responded", "response_probability", "response_recency_days", "responses")


def of_category(category: str) -> Target:
    """A purchase in this category."""
    label, output, recency = (f"{name}[{category}]" for name in (PURCHASE.label, PURCHASE.output, PURCHASE.recency))
    return Target(label, output, recency, category, category)


def parts_of(project: Project) -> tuple[Target, ...]:
    """What is foreseen beside a purchase of anything."""
    categories = tuple(of_category(category) for category in project.propensity.categories)
    return (*categories, RESPONSE) if project.tables.responses else categories


def require_known_categories(project: Project, transactions: ibis.Table, stand: dt.date) -> None:
    """Raises TrainingError where the project names a category that no order before `stand` is of."""
    if not project.propensity.categories:
        return
    ordered = transactions.filter(~_.refund, _.time < moment(stand), _.category.notnull())
    known = run(ordered.select("category").distinct()).column("category").to_pylist()
    for category in project.propensity.categories:
        if category not in known:
            raise TrainingError(
                f"{project.file}: propensity.categories names {category!r}, which no order is of; "
                f"{_hint(category, sorted(known))}"
            )


def _hint(category: str, known: list[str]) -> str:
    """The nearest names, whatever their case."""
    spelled = {name.casefold(): name for name in known}
    near = [spelled[name] for name in difflib.get_close_matches(category.casefold(), spelled, n=NEAREST)]
    if near:
        return f"the nearest are: {', '.join(near)}"
    more = f" and {len(known) - LISTED:,} more" if len(known) > LISTED else ""
    return f"there are: {', '.join(known[:LISTED])}{more}"
