"""Results of audits as Prometheus metrics: pushed to a Pushgateway, or written for node_exporter's textfile collector.

Jobs come and go, so nothing can be scraped from them. A push replaces the whole group of its job and model; there is no
`instance`, so that a job that moves to another machine replaces its own. No customer stands in a metric: groups are
counted, and those too small to be shown are left out.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, delete_from_gateway, push_to_gateway, write_to_textfile
from prometheus_client.core import GaugeMetricFamily

from audits.drift import MINIMUM_CELL
from audits.errors import AuditError
from model_registry.mlflow_registry import without_password

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from audits.drift import DriftReport
    from audits.fairness import Finding
    from audits.report import Report

AUDITS = ("drift", "fairness")
TIMEOUT_SECONDS = 10
SUFFIX = ".prom"
"""The textfile collector reads no other files."""


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
        AuditError: the gateway cannot be reached or refuses.
    """
    with _explained(gateway):
        push_to_gateway(gateway, job_of(result.audit), _registry(result), {"model": result.model}, TIMEOUT_SECONDS)


def retire(model: str, gateway: str) -> None:
    """Deletes what the gateway holds of this model's audits: a gateway never forgets by itself.

    Raises:
        AuditError: the gateway cannot be reached or refuses.
    """
    with _explained(gateway):
        for audit in AUDITS:
            delete_from_gateway(gateway, job_of(audit), {"model": model}, TIMEOUT_SECONDS)


def write_textfile(result: Result, path: Path) -> None:
    """Writes the metrics for node_exporter; the file appears whole or not at all.

    Raises:
        AuditError: the collector would not read a file of that name.
        OSError: the file cannot be written.
    """
    if path.suffix != SUFFIX:
        raise AuditError(f"{path} would not be collected: give the text file a name that ends in {SUFFIX}")
    write_to_textfile(str(path), _registry(result))


def job_of(audit: str) -> str:
    """The job that metrics are pushed as; an audit of its own, for a push replaces all of a job's."""
    return f"regulars_audit_{audit}"


def _metric(finding: Finding) -> str:
    return f"{finding.metric}[{finding.part}]" if finding.part else finding.metric


def _registry(result: Result) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(result)
    return registry


@contextmanager
def _explained(gateway: str) -> Iterator[None]:
    name = without_password(gateway)
    try:
        yield
    except OSError as error:
        raise AuditError(
            f"cannot reach the Pushgateway {name}: {error}; nothing else is undone. See that one listens there"
        ) from error
    except (HTTPException, ValueError) as error:
        # Their texts quote what they took for a port, which may be a password.
        raise AuditError(f"{name} is no address of a Pushgateway; give one such as http://127.0.0.1:9091") from error
