"""What a bundle may cost the server that loads it, and what it does cost on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_registry.bundle import BundleError

if TYPE_CHECKING:
    from pathlib import Path

TABLE_ROWS = 1000
PATIENCE_SECONDS = 120.0
MEASURING = "model_registry.measuring"


@dataclass(frozen=True)
class Budget:
    """The most that a bundle may cost: milliseconds for one customer (the median) and for a table, and megabytes.

    Defaults are far above what the suite's own pipelines make, so that a busy machine refuses none of them: they need
    hundredths of a millisecond, a few milliseconds and a few megabytes. While servers swap they hold two bundles, which
    is why memory is bounded at a fraction of a usual container's.
    """

    row_milliseconds: float = 5.0
    table_milliseconds: float = 250.0
    megabytes: float = 128.0


@dataclass(frozen=True)
class Cost:
    """What a bundle costs.

    The median and the 99th percentile of scoring one customer, scoring a table of `TABLE_ROWS` customers, and the
    resident memory that it adds.
    """

    row_milliseconds: float
    row_p99_milliseconds: float
    table_milliseconds: float
    megabytes: float


def measure(folder: Path) -> Cost:
    """The cost of the bundle in `folder`, measured in a fresh process: nothing that this one has loaded counts.

    Raises:
        BundleError: it does not load, does not reproduce its golden rows, or takes longer than anybody waits.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", MEASURING, str(folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(
            f"the bundle could not be measured within {PATIENCE_SECONDS:.0f} s; train a smaller model"
        ) from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"its process ended with status {done.returncode}"])[-1]
        raise BundleError(f"the bundle could not be measured: {reason}")
    return Cost(**json.loads(done.stdout))
