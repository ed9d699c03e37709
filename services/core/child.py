"""A server that another process of ours starts: a worker, or one of `regulars up`. It never outlives that process.

Its standard input is a pipe that nobody writes to. The kernel closes the other end when the parent ends, even by
SIGKILL, of which the parent could tell nobody; the child then drains as on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CHILD = "--child"


def start_child(model: str, *options: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a server with that environment and those options of `python -m services.core`."""
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "services.core", model, CHILD, *options],
        env=environment,
        stdin=subprocess.PIPE,
        # A session of its own: the terminal's Ctrl-C reaches the parent alone, which drains its children.
        start_new_session=True,
    )


def end_with_parent() -> None:
    """From now on this process gets a SIGTERM when its parent ends."""
    threading.Thread(target=_outwait_parent, name="parent", daemon=True).start()


def _outwait_parent() -> None:
    # Past sys.stdin, whose lock a thread that waits for it would hold at the interpreter's exit.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
