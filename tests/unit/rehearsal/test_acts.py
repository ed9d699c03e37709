from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from tests.rehearsal.acts import Notes, overload

if TYPE_CHECKING:
    import pytest

    from tests.rehearsal.stage import Stage

STAGE = SimpleNamespace(
    servers={"churn": SimpleNamespace(port=1, health_port=2)}, workshop=SimpleNamespace(customers=Path("customers"))
)


def crowd_that_prints(crowded: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(communicate=lambda **_: (json.dumps(crowded), None), kill=lambda: None, wait=lambda: None)


def test_a_crowd_of_which_nobody_is_answered_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    crowded = {"codes": {"RESOURCE_EXHAUSTED": 9}, "milliseconds": float("nan"), "checks": 1, "unhealthy": 0}
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: crowd_that_prints(crowded))
    notes = Notes()
    with overload(cast("Stage", STAGE), notes):
        pass
    assert [(note.seen, note.passed) for note in notes.written] == [
        ("{}", True),
        ("0, 99 % within nan ms", False),
        ("0", True),
    ]
