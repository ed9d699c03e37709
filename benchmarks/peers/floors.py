"""What no server can be faster than: the graph in ONNX Runtime, and its trees compiled, in a bare process."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from benchmarks.peers.peer import ROOT, SERVED
from benchmarks.serving import SERVER_CORE, SERVING_PYTHON, environment, pinned

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.subject import Subject

EMPTY = "floor: empty gRPC handler"
BARE = "floor: bare session.run"
COMPILED = "floor: compiled trees"

COMPILED_ENVIRONMENT = ROOT / ".venv-peer-lleaves"


class FloorError(Exception):
    """A floor could not be measured. Says why."""


def bare_runs(subject: Subject, rows: int, runs: int) -> float:
    """Runs a second of the graph, as the server configures it."""
    command = [str(SERVING_PYTHON), "-m", "benchmarks.bare_run", str(subject.graph), str(rows), str(runs)]
    return _runs(command, environment())


def compiled_runs(subject: Subject, known: Path, rows: int, runs: int) -> float:
    """Runs a second of lleaves; the first compiles, once for all."""
    python = COMPILED_ENVIRONMENT / "bin" / "python"
    command = [str(python), str(SERVED / "compiled_run.py"), str(subject.booster), str(known), str(rows), str(runs)]
    return _runs(command, None)


def _runs(command: list[str], variables: dict[str, str] | None) -> float:
    done = subprocess.run(
        pinned(SERVER_CORE, command), capture_output=True, text=True, check=False, env=variables, cwd=ROOT
    )
    if done.returncode:
        raise FloorError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return float(done.stdout)
