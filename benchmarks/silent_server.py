"""A churn server that counts nothing and reads no clock for it: what its metrics are measured against.

python -m benchmarks.silent_server        settings from REGULARS_* as for any server
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge

from services.core.call_threads import CallThreads
from services.core.metrics import MethodMetrics
from services.core.score_metrics import ScoreMetrics
from services.core.server import serve
from services.core.settings import Settings
from services.core.stages import UNTIMED, StageMetrics

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    silence()
    serve("churn", Settings.from_environment())


def silence() -> None:
    """Takes the work out of every place where a call is counted or timed."""
    nothing: Callable[..., Any] = lambda *_: None  # noqa: E731 - a method
    silent: dict[type, dict[str, Any]] = {
        CallThreads: {"submit": ThreadPoolExecutor.submit},
        MethodMetrics: {"start": nothing, "finish": nothing},
        StageMetrics: {"of_call": lambda _: UNTIMED},
        ScoreMetrics: {"count": nothing, "count_one": nothing},
        Counter: {"inc": nothing},
        Gauge: {"inc": nothing, "dec": nothing, "set": nothing},
    }
    for owner, methods in silent.items():
        for name, method in methods.items():
            setattr(owner, name, method)


if __name__ == "__main__":
    main()
