"""The stages of a call, and the time that each takes."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Literal

from services.core.call_threads import arrival, done_ahead
from services.core.metrics import STAGE, STAGES
from services.core.tracing import current_trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from services.core.endpoints import Ahead
    from services.core.errors import Kind
    from services.core.manager import Served


Stage = Literal["decode", "run"]
"""Those that calls may go through together."""


def _untold(*_what: object) -> None:
    """For calls that nobody traces."""


@dataclass(frozen=True)
class CallStages:
    """What times one call: `with stages.run(): …`; and `start`, for what it waited before.

    `tell` is told which version answers how many customers, `refuse` why a table of a stream is refused, and `spent`
    what a stage took that calls went through together.
    """

    start: Callable[[], None]
    decode: Callable[[], AbstractContextManager[object]]
    run: Callable[[], AbstractContextManager[object]]
    encode: Callable[[], AbstractContextManager[object]]
    tell: Callable[[Served, int], None] = _untold
    refuse: Callable[[Kind], None] = _untold
    spent: Callable[[Stage, float], None] = _untold


_NOTHING = nullcontext()
UNTIMED = CallStages(lambda: None, lambda: _NOTHING, lambda: _NOTHING, lambda: _NOTHING)


class StageMetrics:
    """The stages of a method's calls, timed in one call of `every`.

    Around a single customer, four observations cost a twentieth of the whole call.
    """

    def __init__(self, service: str, method: str, every: int = 1) -> None:
        queue, decode, run, encode = (STAGE.labels(service, method, stage) for stage in STAGES)

        def start() -> None:
            arrived = arrival()
            ahead: Ahead | None = done_ahead()
            if arrived is not None:
                queue.observe(time.perf_counter() - arrived - (ahead.seconds if ahead else 0.0))

        def spent(stage: Stage, seconds: float) -> None:
            (decode if stage == "decode" else run).observe(seconds)

        timed = CallStages(start, decode.time, run.time, encode.time, spent=spent)
        self._turns = cycle([timed] + [UNTIMED] * (every - 1))

    def of_call(self) -> CallStages:
        stages, trace = next(self._turns), current_trace()
        # A traced call tells of all its stages, whosever turn it is.
        return stages if trace is None else trace.stages(stages)
