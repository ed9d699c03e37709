"""Groups by an amount that is foreseen: what lifetime value is audited by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from audits.fairness import Gated
from audits.influence import Influenced
from audits.learner import Poisson
from audits.policy import ERROR_RATIO, TOTAL_RATIO
from audits.reach import REACHED, REACHED_RATIO, contingency, exposure, rate, top, top_of_each
from audits.refit import refits
from audits.statistics import Measured, bootstrap_errors, chance, interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from audits.inputs import Design
    from audits.mitigation import Option
    from audits.policy import Policy
    from audits.population import Partition, Population
    from audits.refit import Refit
    from audits.statistics import Estimate, Tolerance
    from model_registry.evidence import Interval

TOP_DECILE = 0.1


@dataclass(frozen=True)
class Amounts:
    """Implements `Yardstick` and `Refittable` for money, with the interval that the model puts around it.

    `expected`, `actual`, `low` and `high` are money (N,); `reached` (by a campaign that talks to the highest values),
    `valuable` (truly in the top tenth, and not for nothing) and `ranked` (in the foreseen top tenth) are (N,).
    """

    name: str
    title: str
    expected: NDArray[np.float64]
    actual: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    reached: NDArray[np.bool_]
    valuable: NDArray[np.bool_]
    ranked: NDArray[np.bool_]
    minimum: int
    minimum_paying: int

    meanings: ClassVar[Mapping[str, str]] = {
        "mean_actual": "Mean revenue",
        "total_ratio": "Foreseen / actual total",
        "signed_error": "Mean of foreseen less actual",
        "mae": "Mean absolute error",
        "error": "Mean absolute error / mean revenue",
        "rmse": "Root mean squared error",
        "coverage": "Inside the model's interval",
        "top_decile_recall": "In the foreseen top tenth, of those truly in it",
        REACHED: "Reached",
        REACHED_RATIO: "Reached, over the reference group",
    }

    shares: ClassVar[frozenset[str]] = frozenset({"coverage", "top_decile_recall", REACHED})

    @classmethod
    def of(cls, population: Population, policy: Policy, output: str, label: str, *, title: str) -> Amounts:
        """The output `output` against the label `label`; `lower_bound` and `upper_bound` are the interval's outputs."""
        expected, actual = population.scores[output], population.labels[label]
        return cls(
            name=output,
            title=title,
            expected=expected,
            actual=actual,
            low=population.scores["lower_bound"],
            high=population.scores["upper_bound"],
            reached=top(expected, policy.top_share),
            valuable=top(actual, TOP_DECILE) & (actual > 0),
            ranked=top(expected, TOP_DECILE),
            minimum=policy.minimum_customers,
            minimum_paying=policy.minimum_outcomes,
        )

    @property
    def least(self) -> str:
        return f"{self.minimum} customers, {self.minimum_paying} of whom paid something"

    def counts(self, rows: NDArray[np.intp]) -> dict[str, int]:
        return {
            "customers": len(rows),
            "paid something": int((self.actual[rows] > 0).sum()),
            "reached": int(self.reached[rows].sum()),
        }

    def enough(self, rows: NDArray[np.intp]) -> bool:
        return len(rows) >= self.minimum and int((self.actual[rows] > 0).sum()) >= self.minimum_paying

    def figures(self, rows: NDArray[np.intp], reference: NDArray[np.intp] | None) -> dict[str, Interval]:
        estimates = exposure(self.reached, rows, reference, self.minimum_paying)
        if self.enough(rows):
            estimates |= self._against_revenue(rows)
        return {name: interval(estimates[name]) for name in self.meanings if name in estimates}

    def gated(self, partition: Partition) -> Iterator[Gated]:
        rows = {group: rows for group in partition.known if self.enough(rows := partition.rows(group))}
        money = {group: money_figures(self.expected[one], self.actual[one]) for group, one in rows.items()}
        for group, figures in money.items():
            yield Gated(TOTAL_RATIO, group, figures["total_ratio"], len(rows[group]))
            if group != partition.reference and partition.reference in money:
                error = figures["error"].over(money[partition.reference]["error"])
                yield Gated(ERROR_RATIO, group, error, len(rows[group]))

    def chance(self, partition: Partition) -> dict[str, float]:
        """Of the share reached."""
        groups = [self.reached[rows] for rows in map(partition.rows, partition.known) if self.enough(rows)]
        return {REACHED: chance(contingency(groups))}

    def options(self, partition: Partition, metric: str) -> tuple[Option, ...]:  # noqa: ARG002 - none is measured
        return ()

    def refits(
        self, partition: Partition, metric: str, group: str, tolerance: Tolerance, design: Design
    ) -> tuple[Refit, ...]:
        """Of levels alone: how closely a group can be foreseen is for its inputs to tell, whatever the constraint."""
        return refits(self, partition, metric, group, tolerance, design) if metric == TOTAL_RATIO else ()

    @property
    def came(self) -> NDArray[np.float64]:
        return self.actual

    def learner(self) -> Poisson:
        return Poisson()

    def at(self, rows: NDArray[np.intp]) -> Self:
        customers = ("expected", "actual", "low", "high", "reached", "valuable", "ranked")
        return replace(self, **{name: getattr(self, name)[rows] for name in customers})

    def rescored(self, said: NDArray[np.float64], parts: Sequence[NDArray[np.intp]]) -> Self:
        """Without intervals of their own, and the campaign reaches whom it did."""
        return replace(self, expected=said, ranked=top_of_each(parts, said, TOP_DECILE))

    def terms(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        valuable = self.valuable.astype(np.float64)
        terms = {
            TOTAL_RATIO: (self.expected, self.actual),
            "error": (np.abs(self.expected - self.actual), self.actual),
            "top_decile_recall": (self.ranked * valuable, valuable),
        }
        return terms[metric]

    def overall(self) -> dict[str, Influenced]:
        names = (TOTAL_RATIO, "error", "top_decile_recall")
        return {name: Influenced.quotient(*self.terms(name)) for name in names}

    def _against_revenue(self, rows: NDArray[np.intp]) -> dict[str, Estimate]:
        actual, valuable = self.actual[rows], self.valuable[rows]
        told: dict[str, Estimate] = {
            **money_figures(self.expected[rows], actual),
            "coverage": rate((self.low[rows] <= actual) & (actual <= self.high[rows])),
        }
        return told | ({"top_decile_recall": rate(self.ranked[rows][valuable])} if valuable.any() else {})


def money_figures(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> dict[str, Measured]:
    """Levels and errors of an amount (n,), with bootstrapped standard errors.

    An error in money grows with the money, so errors are compared relative to the group's own mean revenue.
    """
    errors = expected - actual
    columns = np.stack([expected, actual, errors, np.abs(errors), errors**2], axis=1)

    def means(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        foreseen, came, signed, absolute, squared = (weights @ columns / weights.sum(axis=1, keepdims=True)).T
        return {
            "mean_actual": came,
            "total_ratio": foreseen / came,
            "signed_error": signed,
            "mae": absolute,
            "error": absolute / came,
            "rmse": np.sqrt(squared),
        }

    def scaled(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {name: np.log(figure) if name in _RATIOS else figure for name, figure in means(weights).items()}

    estimates = means(np.ones((1, len(actual))))
    spread = bootstrap_errors(scaled, len(actual))
    return {
        name: Measured(float(estimate[0]), spread[name], ratio=name in _RATIOS) for name, estimate in estimates.items()
    }


_RATIOS = frozenset({"total_ratio", "error"})
"""What has its standard error on the scale of logarithms."""
