"""Groups by a probability of an outcome: what churn and propensity are audited by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from audits.fairness import Gated
from audits.influence import Influenced
from audits.learner import Logistic
from audits.mitigation import lines_by_group
from audits.policy import EXPOSURE_RATIO, OBSERVED_EXPECTED, TPR_GAP
from audits.reach import REACHED, REACHED_RATIO, contingency, exposure, rate, top, top_of_each
from audits.refit import refits
from audits.statistics import Difference, Measured, Ratio, bootstrap_errors, chance, interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from audits.inputs import Design
    from audits.mitigation import Option
    from audits.policy import Policy
    from audits.population import Partition, Population
    from audits.refit import Refit
    from audits.statistics import Estimate, Rate, Tolerance
    from model_registry.evidence import Interval

CERTAIN = 1e-6
"""Probabilities are kept this far from 0 and 1 before a logarithm, and no figure here is finer."""

NEWTON_STEPS = 25
STEEPEST = 50.0
"""Log odds beyond which a probability is 0 or 1 to a double."""


@dataclass(frozen=True)
class Probabilities:
    """Implements `Yardstick` and `Refittable` for an output that is a probability.

    `probability`, `happened`, `reached` (by a campaign that talks to the highest scores) and `banded` (in the output's
    highest band; None where it has no bands) are (N,). `gates` are what the policy judges by.
    """

    name: str
    title: str
    probability: NDArray[np.float64]
    happened: NDArray[np.bool_]
    reached: NDArray[np.bool_]
    banded: NDArray[np.bool_] | None
    gates: tuple[str, ...]
    minimum: int
    share: float

    meanings: ClassVar[Mapping[str, str]] = {
        "base_rate": "Had the outcome",
        REACHED: "Reached",
        REACHED_RATIO: "Reached, over the reference group",
        "banded": "In the highest band",
        "tpr": "Reached, of those with the outcome",
        "fpr": "Reached, of those without it",
        "ppv": "Had the outcome, of those reached",
        "auc": "AUC",
        "brier": "Brier score",
        "observed_expected": "Observed / expected",
        "calibration_slope": "Calibration slope",
    }

    shares: ClassVar[frozenset[str]] = frozenset({"base_rate", REACHED, "banded", "tpr", "fpr", "ppv"})

    @classmethod
    def of(
        cls, population: Population, policy: Policy, output: str, label: str, *, title: str, gates: tuple[str, ...]
    ) -> Probabilities:
        """The output `output` against the label `label`."""
        probability = population.scores[output]
        highest = next(len(one.bands) - 1 for one in population.manifest.schema.outputs if one.name == output)
        return cls(
            name=output,
            title=title,
            probability=probability,
            happened=population.labels[label] > 0,
            reached=top(probability, policy.top_share),
            banded=population.bands[output] == highest if highest > 0 else None,
            gates=gates,
            minimum=policy.minimum_outcomes,
            share=policy.top_share,
        )

    @property
    def least(self) -> str:
        return f"{self.minimum} customers with the outcome and {self.minimum} without it"

    def counts(self, rows: NDArray[np.intp]) -> dict[str, int]:
        return {
            "customers": len(rows),
            "with the outcome": int(self.happened[rows].sum()),
            "reached": int(self.reached[rows].sum()),
        }

    def enough(self, rows: NDArray[np.intp]) -> bool:
        with_it = int(self.happened[rows].sum())
        return min(with_it, len(rows) - with_it) >= self.minimum

    def figures(self, rows: NDArray[np.intp], reference: NDArray[np.intp] | None) -> dict[str, Interval]:
        estimates = exposure(self.reached, rows, reference, self.minimum)
        if self.enough(rows):
            estimates |= self._against_outcome(rows)
        return {name: interval(estimates[name]) for name in self.meanings if name in estimates}

    def gated(self, partition: Partition) -> Iterator[Gated]:
        reference = partition.rows(partition.reference) if partition.reference else np.empty(0, np.intp)
        for group in partition.known:
            rows = partition.rows(group)
            if not self.enough(rows):
                continue
            if OBSERVED_EXPECTED in self.gates:
                estimate = observed_expected(self.probability[rows], self.happened[rows])
                yield Gated(OBSERVED_EXPECTED, group, estimate, len(rows))
            if group == partition.reference or not self.enough(reference):
                continue
            if TPR_GAP in self.gates:
                yield Gated(TPR_GAP, group, Difference(self._found(rows), self._found(reference)), len(rows))
            if EXPOSURE_RATIO in self.gates:
                exposure = Ratio(rate(self.reached[rows]), rate(self.reached[reference]))
                yield Gated(EXPOSURE_RATIO, group, exposure, len(rows))

    def chance(self, partition: Partition) -> dict[str, float]:
        """Of the share reached, and of the share reached among those with the outcome."""
        rows = [rows for rows in map(partition.rows, partition.known) if self.enough(rows)]
        shuffled = {}
        if EXPOSURE_RATIO in self.gates:
            shuffled[EXPOSURE_RATIO] = chance(contingency([self.reached[one] for one in rows]))
        if TPR_GAP in self.gates:
            shuffled[TPR_GAP] = chance(contingency([self.reached[one][self.happened[one]] for one in rows]))
        return shuffled

    def options(self, partition: Partition, metric: str) -> tuple[Option, ...]:
        if metric not in {TPR_GAP, EXPOSURE_RATIO}:
            return ()
        groups = tuple(group for group in partition.known if self.enough(partition.rows(group)))
        return (lines_by_group(partition, groups, self.probability, self.happened, self.share, metric),)

    def refits(
        self, partition: Partition, metric: str, group: str, tolerance: Tolerance, design: Design
    ) -> tuple[Refit, ...]:
        return refits(replace(self, gates=(metric,)), partition, metric, group, tolerance, design)

    @property
    def came(self) -> NDArray[np.float64]:
        return self.happened.astype(np.float64)

    def learner(self) -> Logistic:
        return Logistic()

    def at(self, rows: NDArray[np.intp]) -> Self:
        return replace(
            self,
            probability=self.probability[rows],
            happened=self.happened[rows],
            reached=self.reached[rows],
            banded=None,
        )

    def rescored(self, said: NDArray[np.float64], parts: Sequence[NDArray[np.intp]]) -> Self:
        return replace(self, probability=said, reached=top_of_each(parts, said, self.share), banded=None)

    def terms(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        reached, everybody = self.reached.astype(np.float64), np.ones(len(self.reached))
        terms = {
            TPR_GAP: (reached * self.came, self.came),
            EXPOSURE_RATIO: (reached, everybody),
            OBSERVED_EXPECTED: (self.came, self.probability),
            "ppv": (reached * self.came, reached),
            "brier": ((self.probability - self.came) ** 2, everybody),
        }
        return terms[metric]

    def overall(self) -> dict[str, Influenced]:
        return {
            "auc": Influenced.auc(self.probability, self.happened),
            "tpr": Influenced.quotient(*self.terms(TPR_GAP)),
            **{name: Influenced.quotient(*self.terms(name)) for name in ("ppv", "brier", OBSERVED_EXPECTED)},
        }

    def _against_outcome(self, rows: NDArray[np.intp]) -> dict[str, Estimate]:
        happened, reached = self.happened[rows], self.reached[rows]
        return {
            "base_rate": rate(happened),
            **({} if self.banded is None else {"banded": rate(self.banded[rows])}),
            "tpr": rate(reached[happened]),
            "fpr": rate(reached[~happened]),
            "ppv": rate(happened[reached]),
            **_levels(self.probability[rows], happened),
            "calibration_slope": calibration_slope(self.probability[rows], happened),
        }

    def _found(self, rows: NDArray[np.intp]) -> Rate:
        """How many of those with the outcome are reached."""
        return rate(self.reached[rows][self.happened[rows]])


def observed_expected(probability: NDArray[np.float64], happened: NDArray[np.bool_]) -> Measured:
    """Outcomes over the sum of probabilities, both (n,)."""
    outcomes = happened.astype(np.float64)
    errors = bootstrap_errors(
        lambda weights: {"log": np.log(np.maximum(weights @ outcomes, 0.5) / (weights @ probability))}, len(outcomes)
    )
    return Measured(float(outcomes.sum() / probability.sum()), errors["log"], ratio=True)


def calibration_slope(probability: NDArray[np.float64], happened: NDArray[np.bool_]) -> Measured:
    """Of a logistic line through the log odds, with the standard error of its likelihood.

    Cox, "Two further applications of a model for binary regression" (1958): below 1 the probabilities are too extreme,
    above 1 too timid. NaN where the odds part those with the outcome from those without, or are all the same.
    """
    kept = np.clip(probability, CERTAIN, 1.0 - CERTAIN)
    design = np.stack([np.ones(len(kept)), np.log(kept) - np.log1p(-kept)], axis=1)
    line = np.array([0.0, 1.0])
    for _ in range(NEWTON_STEPS):
        said = 1.0 / (1.0 + np.exp(-np.clip(design @ line, -STEEPEST, STEEPEST)))
        information = design.T @ (design * (said * (1.0 - said))[:, None])
        if np.linalg.cond(information) > 1.0 / CERTAIN**2:
            break
        covariance = np.linalg.inv(information)
        step = covariance @ design.T @ (happened - said)
        line = line + step
        if np.abs(step).max() < CERTAIN:
            return Measured(float(line[1]), float(np.sqrt(covariance[1, 1])))
    return Measured(np.nan, np.nan)


def _levels(probability: NDArray[np.float64], happened: NDArray[np.bool_]) -> dict[str, Estimate]:
    """AUC and Brier score, with bootstrapped errors, and the ratio of observed to expected."""
    outcomes = happened.astype(np.float64)
    order = np.argsort(probability, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probability[order])), len(order) - 1)
    squares = (probability - outcomes) ** 2

    def statistics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        ordered = weights[:, order]
        positives = np.cumsum(ordered * outcomes[order], axis=1)[:, ends]
        negatives = np.cumsum(ordered * (1.0 - outcomes[order]), axis=1)[:, ends]
        return {"auc": _auc(positives, negatives), "brier": weights @ squares / weights.sum(axis=1)}

    estimates = statistics(np.ones((1, len(outcomes))))
    errors = bootstrap_errors(statistics, len(outcomes))
    return {
        **{name: Measured(float(estimates[name][0]), errors[name]) for name in errors},
        "observed_expected": observed_expected(probability, happened),
    }


def _auc(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """From sums (R, steps) up to each distinct probability: a tie of a positive and a negative counts one half."""
    steps = np.diff(positives, axis=1, prepend=0.0)
    below = negatives - np.diff(negatives, axis=1, prepend=0.0) / 2.0
    share: NDArray[np.float64] = (steps * below).sum(axis=1) / np.maximum(1.0, positives[:, -1] * negatives[:, -1])
    return share
