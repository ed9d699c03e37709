"""Waiting for what another thread or process brings about."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
"""Long enough for a loaded machine: only a failing test waits for all of it."""


def eventually(ask: Callable[[], T | None], what: str, patience_seconds: float = PATIENCE_SECONDS) -> T:
    """Asks until the answer is neither None nor False; fails with `what` when patience ends."""
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"waited {patience_seconds:.0f} s in vain for {what}")
