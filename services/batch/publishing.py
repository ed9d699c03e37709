"""What a batch run publishes as Prometheus metrics, by the models that it scored with. No customer stands in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from services.batch.run import Summary

JOB = "regulars_batch"


# Compared by identity, because prometheus_client keeps collectors by their hash.
@dataclass(frozen=True, eq=False)
class Result:
    """A run that came to its end.

    `models` are those that it scored with, `finished` is Unix time, `seconds` are those of the last attempt, `rows`
    customers by model and status, `psi` by model and output.
    """

    models: str
    finished: float
    seconds: float
    rejected: int
    rows: Mapping[tuple[str, str], int]
    psi: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def grouping(self) -> dict[str, str]:
        """What a push replaces: the run before, of the same models."""
        return {"models": self.models}

    def collect(self) -> Iterator[Metric]:
        """The metrics, as prometheus_client collects them."""
        yield self._gauge("last_success_timestamp_seconds", "When a run was last complete.", [((), self.finished)])
        yield self._gauge("duration_seconds", "How long its last attempt took.", [((), self.seconds)])
        yield self._gauge("rows", "Customers by status.", self.rows.items(), "model", "status")
        yield self._gauge("rejected_rows", "Rows that were set aside.", [((), self.rejected)])
        yield self._gauge("score_psi", "How far scores lie from the reference.", self.psi.items(), "model", "output")

    def _gauge(self, name: str, meaning: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
        family = GaugeMetricFamily(f"{JOB}_{name}", meaning, labels=("models", *labels))
        for given, value in values:
            family.add_metric((self.models, *given), value)
        return family


def result_of(summary: Summary, finished: float) -> Result:
    """What a complete run publishes."""
    return Result(
        models=",".join(sorted(summary.statuses)),
        finished=finished,
        seconds=summary.seconds,
        rejected=summary.rejected,
        rows={
            (model, status.lower()): count
            for model, statuses in summary.statuses.items()
            for status, count in statuses.items()
        },
        psi={(one.model, one.output): one.psi for one in summary.drifts},
    )
