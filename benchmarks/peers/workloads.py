"""What is measured, and why Regulars loses where it does: the reasons hold whatever the figures of a run are."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.board import Workload

CALL = (
    "Triton reads, gathers and answers calls in C++, on as many threads as come, and its Python sees one batch of "
    "whoever waits. Regulars gathers too, but each call is read, checked, counted and answered by Python, under one "
    "interpreter lock, which by now costs several times the graph. The column of the empty handler is what gRPC's own "
    "Python server reaches with nothing to do."
)
TABLE = (
    "The graph is most of it for everybody; what differs is around it. Regulars checks every value against the range "
    "of training, reads status, percentile and band off every score and names every customer's id; peers return bare "
    "numbers. That is the same for a table of any size up to some hundreds, so small tables pay most for it."
)
WAITING = (
    "A loop that handles calls reads nothing else meanwhile, and beyond 32 in flight a call is refused and comes again "
    "after the pause that it is told, however soon there is room. So a burst or a stall that others queue through "
    "makes a longer tail here."
)
CLIENT = "What Python's threads cost: to wait, to be woken and to get the interpreter, for each customer."
MILLION = (
    "Each table names its customers and its features, and comes back with statuses, percentiles and bands: four "
    "columns, where a peer returns one."
)
SMALL = "The server of a peer that does less holds less."


@dataclass(frozen=True)
class ClosedLoop:
    """So many rows in each call, on so many connections, one call in flight on each."""

    rows: int
    connections: int
    model: str = ""

    @property
    def title(self) -> str:
        what = "one customer" if self.rows == 1 else f"{self.rows:,} customers a call"
        where = f"{self.connections} connection{'s' if self.connections > 1 else ''}"
        return f"{self.model}{what}, {where}"

    @property
    def why(self) -> str:
        return CALL if self.rows == 1 else TABLE

    @property
    def rate(self) -> Workload:
        unit = "calls/s" if self.rows == 1 else "customers/s"
        return Workload(self.title, unit, more_is_better=True, why=self.why)

    @property
    def cost(self) -> Workload:
        return self._cost("the server's processor", "us a call")

    @property
    def p50(self) -> Workload:
        return self._cost("p50", "ms")

    @property
    def p99(self) -> Workload:
        return self._cost("p99", "ms")

    def _cost(self, what: str, unit: str) -> Workload:
        return Workload(f"{self.title}: {what}", unit, more_is_better=False, why=self.why)


@dataclass(frozen=True)
class OpenLoop:
    """Callers who come by a schedule of so many a second, or of this share of each system's own rate."""

    rate: float = 0.0
    share: float = 0.0

    @property
    def title(self) -> str:
        return f"open loop, {self.rate:,.0f} calls/s" if self.rate else f"open loop, {self.share:.0%} of its own rate"

    def p(self, share: float) -> Workload:
        return Workload(f"{self.title}: p{share:g}", "ms", False, WAITING, compared=self.rate > 0)

    @property
    def own_rate(self) -> Workload:
        return Workload(f"{self.title}: that is", "calls/s", more_is_better=True, compared=False)

    def _aside(self, what: str, unit: str) -> Workload:
        return Workload(f"{self.title}: {what}", unit, more_is_better=False, compared=False)

    @property
    def failed(self) -> Workload:
        return self._aside("failed", "calls")

    @property
    def refused(self) -> Workload:
        return self._aside("refused and asked again", "calls")

    @property
    def late(self) -> Workload:
        return self._aside("sent late by, p99", "ms")


@dataclass(frozen=True)
class Mixed:
    """Interactive calls at a low rate, alone or beside a bulk with so many tables of 1,000 in flight."""

    rate: float
    in_flight: int = 0

    @property
    def title(self) -> str:
        beside = f"beside a bulk, {self.in_flight} in flight" if self.in_flight else "alone"
        return f"{self.rate:,.0f} calls/s {beside}"

    def p(self, share: float) -> Workload:
        return Workload(f"{self.title}: p{share:g}", "ms", False, WAITING)

    @property
    def bulk(self) -> Workload:
        return Workload(f"{self.title}: bulk", "customers/s", True, TABLE)

    @property
    def failed(self) -> Workload:
        return Workload(f"{self.title}: failed", "calls", more_is_better=False, compared=False)

    @property
    def refused(self) -> Workload:
        return Workload(f"{self.title}: refused and asked again", "calls", more_is_better=False, compared=False)


PERCENTILES = (50, 99, 99.9)
UNARY = tuple(ClosedLoop(1, connections) for connections in (1, 8, 32))
TABLES = (ClosedLoop(100, 1), ClosedLoop(1000, 1))
OPEN = (OpenLoop(rate=500), OpenLoop(rate=1000), OpenLoop(share=0.7))
MIXED = (Mixed(100), Mixed(100, 1), Mixed(100, 8))
REAL = tuple(ClosedLoop(*size, "real churn model, ") for size in ((1, 1), (1, 8), (1, 32), (1000, 1)))

THREADS = Workload("its own client, 32 threads", "calls/s", more_is_better=True, compared=False)
TASKS = Workload("its own client, 32 tasks of asyncio", "calls/s", more_is_better=True, compared=False)
CLIENT_RATE = Workload("its own client, the better of both", "calls/s", True, CLIENT)
CLIENT_P50 = Workload("its own client, the better of both: p50", "ms", False, CLIENT)
CLIENT_P99 = Workload("its own client, the better of both: p99", "ms", False, CLIENT)
BULK = Workload("a million customers through its own client", "customers/s", True, MILLION)
START = Workload("start to the first right answer", "s", False, SMALL)
MEMORY = Workload("memory after 1,000 customers", "MB", False, SMALL)
