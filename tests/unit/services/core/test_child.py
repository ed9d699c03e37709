from __future__ import annotations

import signal
import subprocess
import sys

from tests.support.polling import PATIENCE_SECONDS

CHILD = "import time; from services.core.child import end_with_parent; end_with_parent(); print('up', flush=True); "


def child(then: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", CHILD + then], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_a_child_is_told_to_end_when_its_parent_has_gone() -> None:
    with child(f"time.sleep({PATIENCE_SECONDS})") as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGTERM


def test_a_child_whose_parent_lives_ends_when_it_likes() -> None:
    with child("time.sleep(0.1)") as process:
        assert process.wait(PATIENCE_SECONDS) == 0
