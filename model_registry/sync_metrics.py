"""What followers of aliases tell of themselves, as Prometheus metrics on a page of their own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from model_registry.release import SHOWN_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from model_registry.release import Release


class Following:
    """How one follower fares: told by it, read by whoever collects."""

    def __init__(self, model: str, alias: str, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells Unix time."""
        self.labels = (model, alias)
        self.last_success = 0.0
        self.failures = 0
        self.release: Release | None = None
        self._clock = clock

    def succeeded(self) -> None:
        self.last_success = self._clock()

    def failed(self) -> None:
        self.failures += 1


class SyncMetrics:
    """The metrics of all followers of a process. A failure is an increase from the first one on."""

    def __init__(self, *followings: Following) -> None:
        self._followings = followings

    def collect(self) -> Iterator[Metric]:
        """The metrics, as prometheus_client collects them."""
        success = GaugeMetricFamily(
            "regulars_sync_last_success_timestamp_seconds",
            "When the folder last was seen to hold what the alias names; 0 before that.",
            labels=("model", "alias"),
        )
        failures = CounterMetricFamily(
            "regulars_sync_failures_total", "Looks at the alias that failed.", labels=("model", "alias")
        )
        info = GaugeMetricFamily(
            "regulars_sync_release_info", "1 for the released version.", labels=("model", "alias", "version", "digest")
        )
        for following in self._followings:
            success.add_metric(following.labels, following.last_success)
            failures.add_metric(following.labels, following.failures)
            release = following.release
            if release is not None:
                info.add_metric((*following.labels, release.version, release.digest[:SHOWN_DIGITS]), 1)
        yield from (success, failures, info)

    def show(self, host: str, port: int) -> int:
        """Serves the page in a thread of its own; port 0 picks a free one. Returns the port.

        Raises:
            OSError: the port is taken, or the address is not this machine's.
        """
        registry = CollectorRegistry()
        registry.register(self)
        return start_http_server(port, host, registry)[0].server_port
