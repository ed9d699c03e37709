"""Prometheus metrics: the standard gRPC server names, and the served model's own beside them."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

if TYPE_CHECKING:
    import grpc

    from model_registry.columns import Score, Scores

# `_created` series double the page and no dashboard reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

_log = logging.getLogger(__name__)

GrpcType = Literal["unary", "bidi_stream", "server_stream"]

HANDLING_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Seconds. Scoring one customer takes well under a millisecond, which the usual buckets cannot show."""

_METHOD = ("grpc_type", "grpc_service", "grpc_method")

STARTED = Counter("grpc_server_started_total", "Calls started on the server.", _METHOD)
HANDLED = Counter("grpc_server_handled_total", "Calls completed on the server, by status.", (*_METHOD, "grpc_code"))
RECEIVED = Counter("grpc_server_msg_received_total", "Messages received by the server.", _METHOD)
SENT = Counter("grpc_server_msg_sent_total", "Messages sent by the server.", _METHOD)
HANDLING = Histogram(
    "grpc_server_handling_seconds", "Time until a call was completed.", _METHOD, buckets=HANDLING_BUCKETS
)

ROWS = Counter("regulars_rows_total", "Customers answered, by status.", ("model", "status"))
WARNINGS = Counter("regulars_warnings_total", "Values that training never saw.", ("model", "feature", "kind"))
IN_FLIGHT = Gauge("regulars_calls_in_flight", "Calls being handled.", ("lane",), multiprocess_mode="livesum")
REJECTED = Counter("regulars_calls_rejected_total", "Calls refused because the lane was full.", ("lane",))
MODEL_INFO = Gauge(
    "regulars_model_info",
    "1 for the served version.",
    ("model", "version", "alias", "digest", "trained_at"),
    multiprocess_mode="livemax",
)
SERVED_SINCE = Gauge(
    "regulars_model_served_since_seconds",
    "When the served bundle was swapped in (Unix time).",
    ("model",),
    multiprocess_mode="livemax",
)
SWAPS = Counter("regulars_swaps_total", "Attempts to load a released bundle, by outcome.", ("model", "outcome"))


_SPELLED = {"OK": "OK", "CANCELLED": "Canceled"}


@cache
def code_label(code: grpc.StatusCode) -> str:
    """`DEADLINE_EXCEEDED` as dashboards know it from Go: `DeadlineExceeded`. Go spells `Canceled` with one l."""
    if code.name in _SPELLED:
        return _SPELLED[code.name]
    return code.name.title().replace("_", "")


@dataclass(frozen=True)
class LaneMetrics:
    """One lane's gauges."""

    lane: str
    in_flight: Gauge = field(init=False)
    rejected: Counter = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "in_flight", IN_FLIGHT.labels(self.lane))
        object.__setattr__(self, "rejected", REJECTED.labels(self.lane))


class MethodMetrics:
    """One method's counters, looked up once: a label look-up costs more than the increment."""

    def __init__(self, grpc_type: GrpcType, service: str, method: str) -> None:
        labels = (grpc_type, service, method)
        self._path = f"/{service}/{method}"
        self._started = STARTED.labels(*labels)
        self._handling = HANDLING.labels(*labels)
        self._handled = cache(lambda code: HANDLED.labels(*labels, code_label(code)))
        self.received = RECEIVED.labels(*labels)
        self.sent = SENT.labels(*labels)

    def start(self) -> float:
        """Counts a call and returns its start time."""
        self._started.inc()
        return time.perf_counter()

    def finish(self, started: float, code: grpc.StatusCode) -> None:
        """Counts the call's end, and logs it at debug."""
        seconds = time.perf_counter() - started
        self._handling.observe(seconds)
        self._handled(code).inc()
        if _log.isEnabledFor(logging.DEBUG):
            fields = {"method": self._path, "code": code.name, "seconds": f"{seconds:.6f}"}
            _log.debug("call", extra={"fields": fields})


def forget_info(*labels: str) -> None:
    """Takes back what `MODEL_INFO` said of a version."""
    MODEL_INFO.labels(*labels).set(0)
    # The files of several workers keep what they have; there the 0 stays.
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        MODEL_INFO.remove(*labels)


class ScoreMetrics:
    """Counts what a model answers."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._rows = cache(lambda status: ROWS.labels(model, status))
        self._warnings = cache(lambda feature, kind: WARNINGS.labels(model, feature, kind))

    def count_one(self, score: Score, status_names: dict[int, str]) -> None:
        self._rows(status_names[score.status]).inc()
        for kind, feature in score.warnings:
            self._warnings(feature, kind).inc()

    def count(self, scores: Scores, status_names: dict[int, str]) -> None:
        for status, rows in enumerate(np.bincount(scores.statuses).tolist()):
            if rows:
                self._rows(status_names[status]).inc(rows)
        for warning in scores.warnings:
            self._warnings(warning.feature, warning.kind).inc(len(warning.rows))
