from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from features.project import TRACKING_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_registry_but_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry that the environment names would win over those of the tests; MLflow's own calls name one there."""
    monkeypatch.delenv(TRACKING_VARIABLE, raising=False)
    yield
    os.environ.pop(TRACKING_VARIABLE, None)


@pytest.fixture(autouse=True)
def no_log_but_the_tests_own() -> Iterator[None]:
    """Commands that a test runs in this process set up its log, and would for the tests after it."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    # Pytest puts its own handlers on around each phase of a test, and takes them off by itself.
    root.handlers[:] = handlers
