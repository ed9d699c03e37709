"""Prometheus metrics: the standard gRPC server names, and the served model's own beside them.

Every metric is declared here, by `_counter`, `_gauge` or `_histogram`, and so stands in `FAMILIES`, out of which
docs/metrics.md is written. A label has few values: names out of the schema and the proto, never what a caller sent.
"""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Literal

import grpc
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from services.core.errors import STATUS_TABLE
from services.core.worker_metrics import FOLDER_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

# `_created` series double the page and no dashboard reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

_log = logging.getLogger(__name__)

GrpcType = Literal["unary", "bidi_stream", "server_stream"]


@dataclass(frozen=True)
class Family:
    """One metric as docs/metrics.md tells of it. `over_workers` says how the values of several processes become one."""

    name: str
    kind: str
    labels: tuple[str, ...]
    unit: str
    over_workers: str
    meaning: str


FAMILIES: list[Family] = []


def _counter(name: str, labels: tuple[str, ...], unit: str, meaning: str) -> Counter:
    FAMILIES.append(Family(name, "counter", labels, unit, "sum", meaning))
    return Counter(name, meaning, labels)


def _gauge(
    name: str, labels: tuple[str, ...], unit: str, meaning: str, *, over_workers: Literal["sum", "max", "min"]
) -> Gauge:
    """Of the workers that live: one that died takes its value along."""
    FAMILIES.append(Family(name, "gauge", labels, unit, over_workers, meaning))
    mode: Literal["livesum", "livemax", "livemin"] = f"live{over_workers}"  # type: ignore[assignment]  # one of the three
    return Gauge(name, meaning, labels, multiprocess_mode=mode)


def _histogram(
    name: str, labels: tuple[str, ...], meaning: str, buckets: Sequence[float], unit: str = "seconds"
) -> Histogram:
    FAMILIES.append(Family(name, "histogram", labels, unit, "sum", meaning))
    return Histogram(name, meaning, labels, buckets=buckets)


HANDLING_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Seconds. Scoring one customer takes well under a millisecond, which the usual buckets cannot show."""

STAGE_BUCKETS = (
    *(0.000_01, 0.000_025, 0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)
"""Seconds. Encoding one customer takes under ten microseconds, scoring a large table a tenth of a second; the queue
goes from a tenth of a millisecond to whatever the callers make of it."""

DIFFERENCE_BUCKETS = (0.0, 0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares. The first holds what is equal to the bit; only values of opposite signs lie further apart than 1."""

STAGES = ("queue", "decode", "run", "encode")

SAMPLE = 16
"""Of so many calls for a single customer, one is timed in stages: timing all would cost a twentieth of their rate."""

_METHOD = ("grpc_type", "grpc_service", "grpc_method")

STARTED = _counter("grpc_server_started_total", _METHOD, "calls", "Calls started on the server.")
HANDLED = _counter(
    "grpc_server_handled_total", (*_METHOD, "grpc_code"), "calls", "Calls completed on the server, by status."
)
RECEIVED = _counter("grpc_server_msg_received_total", _METHOD, "messages", "Messages received by the server.")
SENT = _counter("grpc_server_msg_sent_total", _METHOD, "messages", "Messages sent by the server.")
HANDLING = _histogram(
    "grpc_server_handling_seconds", _METHOD, "Time from a call's start until it was completed.", HANDLING_BUCKETS
)
STAGE = _histogram(
    "regulars_stage_seconds",
    ("grpc_service", "grpc_method", "stage"),
    f"Time of one stage of a call, or of one table of a stream; of single customers, in one call of {SAMPLE}.",
    STAGE_BUCKETS,
)
IN_FLIGHT = _gauge(
    "regulars_calls_in_flight", ("lane",), "calls", "Calls admitted and not completed.", over_workers="sum"
)
REJECTED = _counter("regulars_calls_rejected_total", ("lane",), "calls", "Calls refused because the lane was full.")

ROWS = _counter("regulars_rows_total", ("model", "status"), "customers", "Customers answered, by status.")
SCORES = _counter(
    "regulars_scores_total",
    ("model", "output", "decile", "band"),
    "customers",
    "Customers scored, by where their score lies.",
)
MISSING = _counter("regulars_missing_total", ("model", "feature"), "values", "Values that callers did not have.")
WARNINGS = _counter(
    "regulars_warnings_total", ("model", "feature", "kind"), "values", "Values that training never saw."
)
MODEL_INFO = _gauge(
    "regulars_model_info",
    ("model", "version", "alias", "digest", "trained_at"),
    "1",
    "1 for the served version.",
    over_workers="max",
)
SERVED_SINCE = _gauge(
    "regulars_model_served_since_seconds",
    ("model",),
    "Unix time",
    "When the served bundle was swapped in.",
    over_workers="max",
)
TRAINED = _gauge(
    "regulars_model_trained_at_seconds",
    ("model",),
    "Unix time",
    "When the served bundle was trained; its age is time() less this.",
    over_workers="min",
)
SWAPS = _counter(
    "regulars_swaps_total", ("model", "outcome"), "attempts", "Attempts to load a released bundle, by outcome."
)
WORKERS = _gauge(
    "regulars_workers",
    ("model",),
    "processes",
    "Workers that run, where there are several; fewer than wanted while one is restarted.",
    over_workers="sum",
)
DEATHS = _counter("regulars_worker_deaths_total", ("model",), "deaths", "Workers that ended by themselves.")
TOKEN_CALLS = _counter("regulars_token_calls_total", ("token",), "calls", "Calls authorised by a token, by its name.")
STALE = _gauge(
    "regulars_setting_stale",
    ("setting",),
    "1",
    "1 while the files of a setting have changed and cannot be read: what they said before stands.",
    over_workers="max",
)
SHADOW_CALLS = _counter(
    "regulars_shadow_calls_total",
    ("model", "grpc_method", "outcome", "grpc_code"),
    "calls",
    "Calls whose copies were for the shadow, by what became of them and by the shadow's status.",
)
SHADOW_CUSTOMERS = _counter(
    "regulars_shadow_customers_total",
    ("model", "scored_by"),
    "customers",
    "Customers of the calls compared, by which of the two servers scored them.",
)
SHADOW_DISAGREEMENTS = _counter(
    "regulars_shadow_disagreements_total",
    ("model", "field"),
    "customers",
    "Customers of whom the shadow says something else: of the status among all, else among those whom both scored.",
)
SHADOW_DIFFERENCE = _histogram(
    "regulars_shadow_difference",
    ("model", "field"),
    "How far the shadow's numbers lie from the server's own, of the customers whom both scored.",
    DIFFERENCE_BUCKETS,
    unit="shares",
)
SHADOW_INFO = _gauge(
    "regulars_shadow_info",
    ("model", "version", "digest"),
    "1",
    "1 for the version that the shadow answered with last.",
    over_workers="max",
)
CERTIFICATE_EXPIRY = _gauge(
    "regulars_certificate_expiry_seconds",
    (),
    "Unix time",
    "When the server's certificate expires; 0 in clear text.",
    over_workers="min",
)

LABELS = {
    "grpc_type": "`unary` or `bidi_stream`",
    "grpc_service": "the service's full name in the proto",
    "grpc_method": "the method's name in the proto",
    "grpc_code": "the status as Go spells it: `OK`, `InvalidArgument`, `DeadlineExceeded` …; empty of what was never "
    "sent",
    "stage": "`queue`: from a call's arrival until work on it starts, which is waiting for the message, for a "
    "thread or the loop's turn and for the interpreter, and parsing; `decode`: customers into the model's columns, "
    "checked; `run`: the graph, and what is read off its scores; `encode`: scores into the answer",
    "lane": "`interactive`, `batch`, `bulk`, `probe` or `reflection`",
    "model": "`churn`, `propensity`, `cltv` or `clustering`",
    "status": "`ok`, `insufficient_history` …: `ScoreStatus` in the proto",
    "output": "an output of the bundle",
    "decile": "`1` to `10`, the highest: a tenth of the reference base; empty where the output has no reference",
    "band": "a band of the output; `none` below the lowest, empty where the output has no bands",
    "feature": "an input of the bundle",
    "kind": "`out_of_range` or `unseen_category`",
    "version": "of the registry",
    "alias": "of the registry",
    "digest": "the first twelve digits of the bundle's",
    "trained_at": "RFC 3339",
    "outcome": "of a swap `served` or `refused`; of a call for the shadow `compared`, `incomparable`: its answer is "
    "none to the same question, `failed`: no answer, or `dropped`: never sent, because too many waited",
    "scored_by": "`both`, `own`: this server alone, `shadow`: the shadow alone, or `neither`",
    "field": "a field of the answer for one customer in the proto: `risk_band` …; of a category's, with its name: "
    "`purchase_probability[GROCERY]`",
    "token": "a name in the file of tokens",
    "setting": "an environment variable that names files",
}
"""What the values of each label are."""


def reference() -> str:
    """Every metric and every label as Markdown."""
    metrics = [
        f"| `{family.name}` | {family.kind} | {_quoted(family.labels)} | {family.unit} | {family.over_workers} | "
        f"{family.meaning} |"
        for family in FAMILIES
    ]
    labels = [f"| `{name}` | {meaning} |" for name, meaning in LABELS.items()]
    return "\n".join(
        [
            "| metric | type | labels | unit | over workers | meaning |",
            "|---|---|---|---|---|---|",
            *metrics,
            "",
            "| label | its values |",
            "|---|---|",
            *labels,
        ]
    )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


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
    """One method's counters, looked up once: a label look-up costs more than the increment.

    What can happen stands on the page from the start, at 0: a counter that first appears with its first error would
    hide that one from every rate.
    """

    def __init__(self, grpc_type: GrpcType, service: str, method: str) -> None:
        labels = (grpc_type, service, method)
        self._path = f"/{service}/{method}"
        self._started = STARTED.labels(*labels)
        self._handling = HANDLING.labels(*labels)
        self._handled = cache(lambda code: HANDLED.labels(*labels, code_label(code)))
        for code in (grpc.StatusCode.OK, *(kind.code for kind in STATUS_TABLE)):
            self._handled(code)
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


def unix_time(text: str) -> float:
    """Of a time in RFC 3339; NaN where it is none, so that no alert reads it."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return math.nan


def forget_info(info: Gauge, *labels: str) -> None:
    """Takes back what a gauge said of a version."""
    info.labels(*labels).set(0)
    # The files of several workers keep what they have; there the 0 stays.
    if FOLDER_VARIABLE not in os.environ:
        info.remove(*labels)
