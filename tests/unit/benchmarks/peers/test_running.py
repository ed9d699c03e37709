"""A real process, of a peer that is a few lines of Python."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import psutil
import pytest

from benchmarks.model import SCHEMA, customers
from benchmarks.peers.peer import ROOT, Peer, Question, Start, Wire, as_json, compact
from benchmarks.peers.running import PeerError, serving
from benchmarks.peers.subject import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model_registry.columns import Columns

ROWS = customers(120, seed=1)
SUBJECT = Subject(Path(), Path(), None, SCHEMA, ROWS, ROWS.numeric[:, 0])

# Answers the first feature of each row, plus what it is told; its child would outlive it.
SERVER = """
import json, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["numeric"]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([row[0] + float(sys.argv[2]) for row in rows]).encode())
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass
class Fake(Peer):
    program_text: str = SERVER
    off: float = 0.0

    name = "Fake"
    settings = ""
    wire: ClassVar[Wire] = "JSON"
    environment = ROOT
    packages = ()

    def prepare(self, subject: Subject, folder: Path, ports: tuple[int, int, int]) -> Start:
        return Start([sys.executable, "-c", self.program_text, str(ports[0]), str(self.off)])

    def question(self, subject: Subject, rows: Columns) -> Question:
        return Question("/", compact(as_json(rows)))

    def scores(self, answer: bytes) -> NDArray[np.float64]:
        return np.asarray(json.loads(answer), np.float64)


def test_a_server_that_answers_right_is_served_and_leaves_no_process(tmp_path: Path) -> None:
    with serving(Fake(), SUBJECT, tmp_path / "peer") as server:
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert len(processes) == 2
        assert server.seconds > 0
        assert server.memory_mb() > 1
    assert not [process for process in processes if process.is_running()]


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(PeerError, match="Fake did not start: it ended with 3; its last line: no model"),
        serving(Fake("import sys; print('no model'); sys.exit(3)"), SUBJECT, tmp_path / "peer"),
    ):
        pass


def test_a_server_that_answers_wrong_is_not_measured(tmp_path: Path) -> None:
    with (
        pytest.raises(PeerError, match="its scores of 1 customers are not those of the model"),
        serving(Fake(off=1e-4), SUBJECT, tmp_path / "peer"),
    ):
        pass


def test_floats_are_spelled_short_and_are_the_same() -> None:
    text = compact(as_json(ROWS)).decode()
    assert np.float32(json.loads(text)["numeric"]).tobytes() == ROWS.numeric.tobytes()
    assert len(text) < 13 * ROWS.numeric.size
