from __future__ import annotations

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
