"""Results of audits as Prometheus metrics, published as `model_registry.publishing` says, by audit and model.

No customer stands in a metric: groups are counted, and those too small to be shown are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from audits.drift import MINIMUM_CELL
from model_registry import publishing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from audits.drift import DriftReport
    from audits.fairness import Finding
    from audits.report import Report

AUDITS = ("drift", "fairness")


# Compared by identity, because prometheus_client keeps collectors by their hash.
@dataclass(frozen=True, eq=False)
class Result:
    """What an audit that ran to its end publishes, whatever its verdict.

    `finished` is Unix time. `moved` counts what drifted by part (inputs, outputs), `disparities` are figures by output,
    metric, attribute and group, `rows` customers by attribute and group.
    """

    audit: str
    model: str
    verdict: str
    finished: float
    seconds: float
    moved: Mapping[str, int] = field(default_factory=dict)
    disparities: Mapping[tuple[str, str, str, str], float] = field(default_factory=dict)
    rows: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        """The metrics, as prometheus_client collects them."""
        yield self._gauge(
            "last_success_timestamp_seconds", "When the audit last ran to its end.", [((), self.finished)]
        )
        yield self._gauge("duration_seconds", "How long it took.", [((), self.seconds)])
        yield self._gauge("verdict", "1 for the verdict it came to.", [((self.verdict,), 1)], "verdict")
        by_part = [((part,), count) for part, count in self.moved.items()]
        yield self._gauge("moved", "Inputs and outputs that drifted.", by_part, "part")
        yield self._gauge(
            "disparity",
            "What groups were judged by.",
            self.disparities.items(),
            "output",
            "metric",
            "attribute",
            "group",
        )
        yield self._gauge("rows", "Customers by group.", self.rows.items(), "attribute", "group")

    def _gauge(self, name: str, meaning: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
        family = GaugeMetricFamily(f"regulars_audit_{name}", meaning, labels=("model", "audit", *labels))
        for given, value in values:
            family.add_metric((self.model, self.audit, *given), value)
        return family


def drift_result(report: DriftReport, finished: float, seconds: float) -> Result:
    """What a drift audit publishes."""
    return Result(
        audit="drift",
        model=report.model,
        verdict=report.verdict.value,
        finished=finished,
        seconds=seconds,
        moved={"inputs": len(report.drifted_inputs), "outputs": len(report.drifted_outputs)},
        rows={
            (group.attribute, group.group): group.customers for group in report.groups if group.customers is not None
        },
    )


def fairness_result(report: Report, finished: float, seconds: float) -> Result:
    """What a fairness audit publishes; figures of groups too small for one are left out."""
    return Result(
        audit="fairness",
        model=report.model,
        verdict=report.verdict.value,
        finished=finished,
        seconds=seconds,
        disparities={
            (finding.output, _metric(finding), finding.attribute, finding.group): finding.figure.estimate
            for finding in report.judged
            if math.isfinite(finding.figure.estimate)
        },
        rows={
            (partition.name, group): len(partition.rows(group))
            for partition in report.audit.population.attributes
            for group in partition.groups
            if len(partition.rows(group)) >= MINIMUM_CELL
        },
    )


def push(result: Result, gateway: str) -> None:
    """Replaces what the gateway holds of this audit of this model.

    Raises:
        PublishingError: the gateway cannot be reached or refuses.
    """
    publishing.push(result, gateway, job_of(result.audit), {"model": result.model})


def retire(model: str, gateway: str) -> None:
    """Deletes what the gateway holds of this model's audits.

    Raises:
        PublishingError: the gateway cannot be reached or refuses.
    """
    for audit in AUDITS:
        publishing.retire(gateway, job_of(audit), {"model": model})


def job_of(audit: str) -> str:
    """The job that metrics are pushed as; an audit of its own, for a push replaces all of a job's."""
    return f"regulars_audit_{audit}"


def _metric(finding: Finding) -> str:
    return f"{finding.metric}[{finding.part}]" if finding.part else finding.metric
