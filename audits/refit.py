"""What a model trained again might come to where a gate fails, measured with a small learner.

The learner gets what the model was given and what came of it, and never the attribute. It is fitted free, and then in
the way that is tried:

- under a constraint: what came in a group is lifted or lowered while it is fitted, until every group is treated nearly
  as it should be. The attribute decides by how much, and does not go in;
- without the inputs that tell the group best.

One half of the customers is fitted to and the other half measured, both ways round, so everybody is measured by a
learner that never saw them. What is tried is compared with the same learner when free: that difference is the effect of
what was tried, and not of the learner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from audits.influence import Influenced
from audits.learner import Logistic
from audits.policy import EXPOSURE_RATIO, OBSERVED_EXPECTED, TPR_GAP
from audits.statistics import SEED, halves, interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from audits.fairness import Gated
    from audits.inputs import Design
    from audits.learner import Learner
    from audits.population import Partition
    from audits.statistics import Tolerance
    from model_registry.evidence import Interval

ROUNDS = 30
AIM = 0.5
"""A constraint is met where every group lies within half of what is tolerated: customers to come will differ."""

LONGEST, FARTHEST = 1.0, 8.0
"""By how much at most, in logarithms, what came in a group is lifted in one round, and in all of them."""

MOST_FITTED = 10_000
"""Customers that a learner is fitted to; of more, so many are drawn. All of the others are measured."""

MOST_DROPPED = 3
"""Inputs that are left out together."""


class Refittable(Protocol):
    """A yardstick that a small learner's scores can be held against as well.

    `came` (N,) is what a learner learns to say: outcomes, or money.
    """

    @property
    def came(self) -> NDArray[np.float64]: ...

    def learner(self) -> Learner: ...

    def at(self, rows: NDArray[np.intp]) -> Self:
        """The same of some of the customers."""

    def rescored(self, said: NDArray[np.float64], parts: Sequence[NDArray[np.intp]]) -> Self:
        """The same with other scores (N,). A campaign reaches the highest of each part, which has its own learner."""

    def terms(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What a metric of a group is a sum of, and over a sum of what, both (N,)."""

    def overall(self) -> dict[str, Influenced]:
        """How good the scores are over everybody."""

    def gated(self, partition: Partition) -> Iterator[Gated]: ...


@dataclass(frozen=True)
class Trial:
    """A figure of the served model, of a small learner when free, and of the same learner as it was tried.

    `change` is the tried one's less the free one's, of the same customers.
    """

    served: Interval
    free: Interval
    tried: Interval
    change: Interval


@dataclass(frozen=True)
class Refit:
    """What was tried where `metric` fails by an attribute: a constraint, or to go `without` these inputs.

    `effects` are by group, `quality` by figure. `learner` says of what kind it is, in words.
    """

    metric: str
    attribute: str
    learner: str
    without: tuple[str, ...]
    effects: Mapping[str, Trial]
    quality: Mapping[str, Trial]


@dataclass(frozen=True)
class Telling:
    """How well the members of a group can be told from the other customers by the inputs of a model.

    `together` is the AUC of a logistic regression on all inputs, of customers whom it was not fitted to; `alone` that
    of the inputs by themselves, the best first.
    """

    attribute: str
    group: str
    together: Interval
    alone: Mapping[str, float]


def refits(
    yardstick: Refittable, partition: Partition, metric: str, group: str, tolerance: Tolerance, design: Design
) -> tuple[Refit, ...]:
    """What is tried where `metric` fails; nothing where no input varies.

    Args:
        yardstick: the served model's scores, and what came.
        partition: the attribute.
        metric: one that is a sum over a sum; see `Refittable.terms`.
        group: the one that is treated worst.
        tolerance: of the metric.
        design: the inputs of the customers.
    """
    if not design.features:
        return ()
    bench = _Bench(yardstick, partition, metric, tolerance)
    # Threads wait for each other longer than they work on so few rows.
    with threadpool_limits(1):
        free = bench.measured(design, bench.free)
        constrained = bench.refit((), free, bench.measured(design, bench.constrained))
        told = tuple(design.telling(*partition.apart(group)))[:MOST_DROPPED]
        rest = design.without(told)
        if not rest.features:
            return (constrained,)
        return constrained, bench.refit(told, free, bench.measured(rest, bench.free))


def telling(partition: Partition, group: str, design: Design) -> Telling:
    """Of one group of an attribute, against all other known ones."""
    members, others = partition.apart(group)
    rows = np.flatnonzero(members | others)
    belongs = members[rows].astype(np.float64)
    said = np.empty(len(rows))
    with threadpool_limits(1):
        for one, other in _both_ways(halves(belongs.astype(np.intp))):
            said[other] = _fitted(Logistic(), design.matrix[rows], belongs, _drawn(one)).say(design.matrix[rows[other]])
    together = _interval(Influenced.auc(said, members[rows]))
    return Telling(partition.name, group, together, design.telling(members, others))


class _Bench:
    """Where learners are fitted to one half of the customers and measured on the other."""

    def __init__(self, yardstick: Refittable, partition: Partition, metric: str, tolerance: Tolerance) -> None:
        self._yardstick = yardstick
        self._partition = partition
        self._metric = metric
        self._tolerance = tolerance
        self._served = self._intervals(yardstick)
        self._groups = tuple(self._served)
        compared = (partition.reference,) if metric in _CONTRASTS else ()
        self._judged = (*self._groups, *compared)
        self._codes = partition.places(self._judged)
        self._halves = halves(2 * self._codes + (yardstick.came > 0))

    def measured(
        self, design: Design, fit: Callable[[Design, NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]
    ) -> Refittable:
        """The yardstick with what learners say of the half that they were not fitted to."""
        said = np.empty(len(self._codes))
        for one, other in _both_ways(self._halves):
            said[other] = fit(design, _drawn(one), other)
        return self._yardstick.rescored(said, self._halves)

    def free(self, design: Design, rows: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
        """What a learner says of `other` that was fitted to `rows`."""
        learner = self._yardstick.learner()
        return _fitted(learner, design.matrix, self._yardstick.came, rows).say(design.matrix[other])

    def constrained(self, design: Design, rows: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
        """The same under the constraint, as far as it could be met."""
        learner, near = self._yardstick.learner(), self._yardstick.at(rows)
        matrix, codes, all_of_them = design.matrix[rows], self._codes[rows], np.arange(len(rows))
        # Those of no group that is judged stay as they are, and so does the group that the others are compared with.
        lifts, least, said = np.zeros(len(self._judged) + 1), np.inf, np.empty(len(other))
        for _ in range(ROUNDS):
            learner.fit(matrix, near.came, np.exp(lifts)[codes])
            # Where few are drawn of very many, a small group may have no figure.
            figures = [one.value for one in self._figures(near.rescored(learner.say(matrix), (all_of_them,)), codes)]
            known = [self._tolerance.ideal if np.isnan(figure) else figure for figure in figures]
            farthest = max(abs(self._tolerance.excess(figure)) for figure in known)
            if farthest < least:
                least, said = farthest, learner.say(design.matrix[other])
            if farthest <= AIM:
                break
            away = np.clip([self._tolerance.away(figure) for figure in known], -LONGEST, LONGEST)
            lifts[: len(away)] += away if self._metric == OBSERVED_EXPECTED else -away
            lifts = np.clip(lifts, -FARTHEST, FARTHEST)
        return said

    def refit(self, without: tuple[str, ...], free: Refittable, tried: Refittable) -> Refit:
        served = self._yardstick
        return Refit(
            metric=self._metric,
            attribute=self._partition.name,
            learner=served.learner().name,
            without=without,
            effects=self._effects(free, tried),
            quality=_quality(served, free, tried),
        )

    def _effects(self, free: Refittable, tried: Refittable) -> dict[str, Trial]:
        before, after = self._intervals(free), self._intervals(tried)
        figures = zip(self._groups, self._figures(free, self._codes), self._figures(tried, self._codes), strict=True)
        return {
            group: Trial(self._served[group], before[group], after[group], _interval(new.less(old)))
            for group, old, new in figures
        }

    def _intervals(self, yardstick: Refittable) -> dict[str, Interval]:
        """The metric of every group that is judged, as findings tell it."""
        judged = (one for one in yardstick.gated(self._partition) if one.metric == self._metric)
        return {one.group: interval(one.estimate) for one in judged}

    def _figures(self, yardstick: Refittable, codes: NDArray[np.intp]) -> list[Influenced]:
        """The same figures, each with what every customer adds to it."""
        over, under = yardstick.terms(self._metric)
        members = [codes == place for place in range(len(self._judged))]
        parts = [Influenced.quotient(over * one, under * one) for one in members]
        if self._metric not in _CONTRASTS:
            return parts
        *groups, reference = parts
        return [_CONTRASTS[self._metric](one, reference) for one in groups]


_CONTRASTS = {TPR_GAP: Influenced.less, EXPOSURE_RATIO: Influenced.over}
"""Metrics that compare with the reference group, and how."""


def _quality(served: Refittable, free: Refittable, tried: Refittable) -> dict[str, Trial]:
    now, before, after = served.overall(), free.overall(), tried.overall()
    return {
        name: Trial(*map(_interval, (now[name], before[name], after[name], after[name].less(before[name]))))
        for name in now
    }


def _interval(figure: Influenced) -> Interval:
    return interval(figure.estimate)


def _fitted(
    learner: Learner, matrix: NDArray[np.float64], came: NDArray[np.float64], rows: NDArray[np.intp]
) -> Learner:
    learner.fit(matrix[rows], came[rows], np.ones(len(rows)))
    return learner


def _drawn(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.random.default_rng(SEED).permutation(rows)[:MOST_FITTED]


def _both_ways(
    parts: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], ...]:
    """Pairs of who is fitted to and who is measured."""
    one, other = parts
    return (one, other), (other, one)
