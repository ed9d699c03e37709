from __future__ import annotations

import pytest


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard error of 100 resamples is uncertain by 7 %, which is fine enough for a test and five times as fast."""
    monkeypatch.setattr("audits.statistics.RESAMPLES", 100)
