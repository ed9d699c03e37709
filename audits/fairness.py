"""The fairness audit: the same figures for every group, compared, and judged by the policy.

A model says how its outputs are compared in a module of its own name, `audits/<model>.py`, as `AUDIT`. Everything else
is the same for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from audits.population import crossings
from audits.refit import telling
from audits.statistics import Verdict, decide, growth, holm, interval, p_value
from model_registry.clearance import Waived
from model_registry.evidence import Interval

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import ibis
    from numpy.typing import NDArray

    from audits.inputs import Design
    from audits.mitigation import Option
    from audits.policy import Policy
    from audits.population import Partition, Population
    from audits.refit import Refit, Telling
    from audits.statistics import Estimate, Tolerance
    from features.project import Project
    from features.sections import Waiver
    from features.tables import CustomerTables

NOTHING_COMPARED = "nothing_compared"
"""The finding of an output of which no group was large enough."""

NO_FIGURE = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Gated:
    """A figure that the policy has a tolerance for, and how many customers it is of.

    Without a `group` it is of an attribute as a whole. `part` is the segment that it is of, if it is of one.
    """

    metric: str
    group: str
    estimate: Estimate
    customers: int
    part: str = ""


class Yardstick(Protocol):
    """How one output of a model is measured in groups of customers.

    Customers are told by their places (n,) in the population. `meanings` are the words for the names of figures, in
    the order that they are shown in, and `shares` those which are shares of customers.
    """

    @property
    def name(self) -> str:
        """The output's, as findings begin."""

    @property
    def title(self) -> str:
        """The output in words."""

    @property
    def least(self) -> str:
        """How large a group must be to be judged, in words."""

    @property
    def meanings(self) -> Mapping[str, str]: ...

    @property
    def shares(self) -> frozenset[str]: ...

    def counts(self, rows: NDArray[np.intp]) -> dict[str, int]:
        """What there is of these customers."""

    def enough(self, rows: NDArray[np.intp]) -> bool:
        """Whether they are enough to be judged."""

    def figures(self, rows: NDArray[np.intp], reference: NDArray[np.intp] | None) -> dict[str, Interval]:
        """What is shown of them, as far as they are enough for it; `reference` are those they are compared with."""

    def gated(self, partition: Partition) -> Iterator[Gated]:
        """What is judged of a partition: known groups that are large enough."""

    def chance(self, partition: Partition) -> dict[str, float]:
        """By metric: how often shuffled groups would differ as much as these."""

    def options(self, partition: Partition, metric: str) -> tuple[Option, ...]:
        """What a campaign could do where `metric` fails, with its measured effect."""

    def refits(
        self, partition: Partition, metric: str, group: str, tolerance: Tolerance, design: Design
    ) -> tuple[Refit, ...]:
        """What a training could do where `metric` fails, worst for `group`, with its effect on a small learner."""


@dataclass(frozen=True)
class ModelAudit:
    """What a model declares.

    `answers` are the labels for a date and a horizon in days. `dated` says whether they are of a date at all, and
    `foresees` whether the model speaks of what follows that date.
    """

    answers: Callable[[CustomerTables, Project, dt.date, int], ibis.Table]
    yardsticks: Callable[[Population, Policy], tuple[Yardstick, ...]]
    dated: Callable[[CustomerTables], bool] = lambda _: True
    foresees: bool = True


@dataclass(frozen=True)
class Finding:
    """A gated figure with its verdict.

    `p_value` is adjusted for all tests of its kind. `growth` says how many times as many customers it would take to
    pass, had the figure been ideal. `crossed` findings are searched for harm: they block where they fail, and
    prove nothing where they do not.
    """

    output: str
    metric: str
    attribute: str
    group: str
    figure: Interval
    tolerance: Tolerance | None
    verdict: Verdict
    p_value: float = 1.0
    growth: float = 1.0
    customers: int = 0
    part: str = ""
    crossed: bool = False
    waiver: Waiver | None = None

    @property
    def name(self) -> str:
        """As waivers name it: output, metric, attribute, group."""
        metric = f"{self.metric}[{self.part}]" if self.part else self.metric
        return "/".join(one for one in (self.output, metric, self.attribute, self.group) if one)

    @property
    def stands_in_the_way(self) -> bool:
        """Whether it blocks unless somebody answers for it."""
        return self.verdict == Verdict.FAIL or (self.verdict == Verdict.INCONCLUSIVE and not self.crossed)

    @property
    def blocks(self) -> bool:
        return self.stands_in_the_way and self.waiver is None

    @property
    def too_few(self) -> bool:
        """Undecided, and would be so even if the figure were ideal."""
        return self.verdict == Verdict.INCONCLUSIVE and self.growth > 1.0


@dataclass(frozen=True)
class Cell:
    """A group: its counts and, where it is large enough, its figures."""

    group: str
    counts: Mapping[str, int]
    figures: Mapping[str, Interval]
    enough: bool


@dataclass(frozen=True)
class Breakdown:
    """What was seen of an attribute, or of two crossed, of which no figures but the gated ones are taken."""

    partition: Partition
    cells: tuple[Cell, ...]
    chance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class OutputAudit:
    """One output of the model: `everybody`'s figures, those of the groups, and what could be done where some fail.

    `options` are open to a campaign, `refits` to a training.
    """

    yardstick: Yardstick
    everybody: Mapping[str, Interval]
    breakdowns: tuple[Breakdown, ...]
    options: tuple[Option, ...]
    refits: tuple[Refit, ...]


@dataclass(frozen=True)
class FairnessAudit:
    """The whole audit of one version on one population. `tellings` are of the groups that fail."""

    population: Population
    policy: Policy
    outputs: tuple[OutputAudit, ...]
    findings: tuple[Finding, ...]
    tellings: tuple[Telling, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """FAIL where a failure stands, INCONCLUSIVE where something undecided does or nothing was judged, else PASS."""
        return _worst(finding for finding in self.findings if finding.blocks)

    @property
    def waived(self) -> Waived | None:
        """What the verdict would be if nobody answered for anything; None where that is the same."""
        standing = [finding for finding in self.findings if finding.stands_in_the_way]
        bare = _worst(standing)
        if bare == self.verdict:
            return None
        return Waived(bare.value, min(finding.waiver.expires for finding in standing if finding.waiver))

    @property
    def unused_waivers(self) -> tuple[Waiver, ...]:
        """Waivers that no finding needs."""
        used = [finding.waiver for finding in self.findings]
        return tuple(waiver for waiver in self.policy.waivers if waiver not in used)


def _worst(findings: Iterable[Finding]) -> Verdict:
    verdicts = {finding.verdict for finding in findings}
    return next((one for one in (Verdict.FAIL, Verdict.INCONCLUSIVE) if one in verdicts), Verdict.PASS)


def audit(population: Population, yardsticks: Iterable[Yardstick], policy: Policy) -> FairnessAudit:
    """Measures every group, by attribute and by two attributes crossed, and judges what the policy has limits for."""
    measured = tuple(yardsticks)
    partitions = _partitions(population)
    findings = judge(population, measured, policy)
    return FairnessAudit(
        population,
        policy,
        outputs=tuple(_output_audit(population, yardstick, partitions, findings, policy) for yardstick in measured),
        findings=findings,
        tellings=tuple(_tellings(population, findings)),
    )


def judge(population: Population, yardsticks: Sequence[Yardstick], policy: Policy) -> tuple[Finding, ...]:
    """The findings of an audit, without the figures that nothing hangs on."""
    tests = [
        _Test(yardstick.name, partition, gated)
        for yardstick in yardsticks
        for partition in _partitions(population)
        for gated in yardstick.gated(partition)
    ]
    findings = _judge_all(tests, policy)
    return (*findings, *_not_judged(yardsticks, findings, policy))


def _partitions(population: Population) -> tuple[Partition, ...]:
    return (*population.attributes, *crossings(population.attributes))


def _output_audit(
    population: Population,
    yardstick: Yardstick,
    partitions: Sequence[Partition],
    found: Sequence[Finding],
    policy: Policy,
) -> OutputAudit:
    everybody = np.arange(len(population))
    failed = list(_failed(population, yardstick.name, found))
    return OutputAudit(
        yardstick=yardstick,
        everybody=yardstick.figures(everybody, None),
        breakdowns=tuple(_break_down(yardstick, partition) for partition in partitions),
        options=tuple(option for partition, metric, _ in failed for option in yardstick.options(partition, metric)),
        refits=tuple(
            refit
            for partition, metric, group in failed
            for refit in yardstick.refits(partition, metric, group, policy.tolerances[metric], population.design)
        ),
    )


def _failed(population: Population, output: str, found: Sequence[Finding]) -> Iterator[tuple[Partition, str, str]]:
    """The attributes and metrics by which an output fails, and the group of each that comes off worst."""
    for partition in population.attributes:
        own = [one for one in _failures(found, partition) if one.output == output]
        for metric in sorted({one.metric for one in own}):
            yield partition, metric, max((one for one in own if one.metric == metric), key=_excess).group


def _failures(found: Sequence[Finding], partition: Partition) -> list[Finding]:
    return [one for one in found if one.verdict == Verdict.FAIL and one.attribute == partition.name]


def _excess(finding: Finding) -> float:
    return abs(finding.tolerance.excess(finding.figure.estimate)) if finding.tolerance else 0.0


def _tellings(population: Population, found: Sequence[Finding]) -> Iterator[Telling]:
    """Of every group that fails; of all that are judged where an attribute fails as a whole."""
    for partition in population.attributes:
        failed = _failures(found, partition)
        judged = [one for one in found if one.attribute == partition.name] if failed else []
        named = [one.group for one in failed if one.group] or [one.group for one in judged if one.group]
        for group in dict.fromkeys(named):
            if population.design.features:
                yield telling(partition, group, population.design)


def _not_judged(yardsticks: Sequence[Yardstick], found: Sequence[Finding], policy: Policy) -> Iterator[Finding]:
    """An output that no attribute could be judged of has not passed."""
    judged = {one.output for one in found if not one.crossed}
    for yardstick in yardsticks:
        if yardstick.name not in judged:
            nothing = Finding(yardstick.name, NOTHING_COMPARED, "", "", NO_FIGURE, None, Verdict.INCONCLUSIVE)
            yield replace(nothing, growth=math.inf, waiver=policy.waiver(nothing.name, nothing.verdict))


def _break_down(yardstick: Yardstick, partition: Partition) -> Breakdown:
    cells = []
    for group in partition.groups:
        rows = partition.rows(group)
        alone = group == partition.reference or not partition.reference
        reference = None if alone else partition.rows(partition.reference)
        figures = {} if partition.crossed else yardstick.figures(rows, reference)
        cells.append(Cell(group, yardstick.counts(rows), figures, yardstick.enough(rows)))
    judged = sum(cell.enough and cell.group in partition.known for cell in cells)
    # One group cannot differ.
    shuffled = yardstick.chance(partition) if judged > 1 and not partition.crossed else {}
    return Breakdown(partition, tuple(cells), shuffled)


@dataclass(frozen=True)
class _Test:
    output: str
    partition: Partition
    gated: Gated


def _judge_all(tests: Sequence[_Test], policy: Policy) -> list[Finding]:
    """Adjusts the groups and the crossed groups each by themselves: a search must not blunt the tests of the groups."""
    p_values = np.array([p_value(one.gated.estimate, policy.tolerances[one.gated.metric]) for one in tests])
    crossed = np.array([one.partition.crossed for one in tests], bool)
    for kind in (crossed, ~crossed):
        p_values[kind] = holm(p_values[kind])
    return [_judge(one, float(adjusted), policy) for one, adjusted in zip(tests, p_values, strict=True)]


def _judge(test: _Test, adjusted: float, policy: Policy) -> Finding:
    gated, partition = test.gated, test.partition
    tolerance = policy.tolerances[gated.metric]
    verdict = decide(gated.estimate, tolerance, adjusted)
    finding = Finding(
        output=test.output,
        metric=gated.metric,
        part=gated.part,
        attribute=partition.name,
        group=gated.group,
        figure=interval(gated.estimate),
        tolerance=tolerance,
        verdict=verdict,
        p_value=adjusted,
        growth=growth(gated.estimate, tolerance),
        customers=gated.customers,
        crossed=partition.crossed,
    )
    return replace(finding, waiver=policy.waiver(finding.name, verdict))
