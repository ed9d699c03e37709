"""Real server processes for tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]


def server_of(model: str) -> tuple[str, ...]:
    """What starts the model's server."""
    return ("-m", "services.core", model)


SERVER = server_of("churn")
SUPERVISOR = (
    "-c",
    (
        "from services.core.settings import Settings; from services.core.workers import supervise; "
        "supervise('churn', Settings.from_environment())"
    ),
)


@dataclass
class ServerProcess:
    """A process whose standard error is read as it comes: its log, and whatever else was written there."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of that event so far."""
        parsed = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [line for line in parsed if line["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        def seen() -> list[dict[str, Any]] | None:
            if self.process.poll() is not None and self.process.returncode != 0:
                raise AssertionError(f"the server ended with {self.process.returncode}: {self.text()}")
            events = self.events(name)
            return events if len(events) >= count else None

        return eventually(seen, f"{count} log lines {name!r}")

    @property
    def port(self) -> int:
        port: int = (self.events("supervising") or self.wait_for("listening"))[0]["port"]
        return port

    @property
    def metrics_port(self) -> int:
        port: int = (self.events("supervising") or self.wait_for("listening"))[0]["metrics_port"]
        return port

    def channel(self) -> grpc.Channel:
        """A connection of its own: gRPC would share one between equal channels."""
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)])

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=PATIENCE_SECONDS) as page:
            text: str = page.read().decode()
        return text

    def metric(self, name: str, **labels: str) -> float:
        """The sum of every series of that name with those labels."""
        total = 0.0
        for line in self.metrics().splitlines():
            found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
            if found and all(f'{label}="{value}"' in (found[1] or "") for label, value in labels.items()):
                total += float(found[2])
        return total

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    def text(self) -> str:
        return "".join(self.lines)


@contextmanager
def running(
    bundles: Path,
    *,
    command: tuple[str, ...] = SERVER,
    python: str = sys.executable,
    environment: dict[str, str] | None = None,
    **settings: object,
) -> Iterator[ServerProcess]:
    """A server over `bundles`; `settings` by their names in `Settings`. Killed at the end if it still runs."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("REGULARS_", "PYTHON", "OTEL_"))
    }
    given = {"bundles": bundles, "poll_seconds": 0.02, "grace_seconds": PATIENCE_SECONDS, **settings}
    process = subprocess.Popen(
        [python, *command],
        cwd=REPOSITORY,
        env={
            **inherited,
            "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'protos'}",
            **{f"REGULARS_{name.upper()}": str(value) for name, value in given.items()},
            **(environment or {}),
        },
        stderr=subprocess.PIPE,
        text=True,
        # gRPC's core writes what it was sent into its own lines, as it came.
        errors="backslashreplace",
        start_new_session=True,
    )
    server = ServerProcess(process)
    try:
        server.wait_for("supervising" if command is SUPERVISOR else "listening")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
