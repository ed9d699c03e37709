"""Closed loops: h2load asks again on each connection as soon as it is answered."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.serving import LOAD_CORE, pinned

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.peers.peer import Question, Wire

HEADERS = {
    "gRPC": ["-m", "1", "-H", "content-type: application/grpc", "-H", "te: trailers"],
    "JSON": ["--h1", "-H", "content-type: application/json"],
}
FRAME_BYTES = 5


class LoadError(Exception):
    """Calls failed, so that their rate is none."""


@dataclass(frozen=True)
class Report:
    """What h2load says at its end. `data` are the bytes of all answers."""

    rate: float
    failed: int
    data: int


@dataclass(frozen=True)
class Closed:
    """Calls a second, and how long they took, in milliseconds."""

    rate: float
    p50: float
    p99: float


class Load:
    """One question to one server, over and over."""

    def __init__(self, wire: Wire, port: int, question: Question, answer: bytes, folder: Path) -> None:
        """`answer` is the right one; all have its length, which is how h2load's are known to be right."""
        self._wire, self._url = wire, f"http://127.0.0.1:{port}{question.path}"
        self._body, self._log = folder / "question", folder / "log"
        folder.mkdir()
        self._body.write_bytes(framed(question.body) if wire == "gRPC" else question.body)
        self._answer_bytes = len(answer) + (FRAME_BYTES if wire == "gRPC" else 0)

    def run(self, connections: int, calls: int) -> Closed:
        """Asks `calls` times, one in flight on each connection.

        Raises:
            LoadError: a call failed, or was answered by anything but scores.
        """
        self._log.unlink(missing_ok=True)
        command = ["h2load", "-n", str(calls), "-c", str(connections), "-d", str(self._body)]
        command += ["--log-file", str(self._log), *HEADERS[self._wire], self._url]
        output = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, check=True).stdout
        report = read_report(output)
        if report.failed:
            raise LoadError(f"{report.failed:,} of {calls:,} calls failed")
        if report.data != calls * self._answer_bytes:
            raise LoadError("answers without scores")
        p50, p99 = np.percentile(read_log(self._log.read_text()), [50, 99])
        return Closed(report.rate, float(p50), float(p99))


def framed(message: bytes) -> bytes:
    """As gRPC sends it: not compressed, then its length."""
    return b"\0" + struct.pack(">I", len(message)) + message


def read_report(text: str) -> Report:
    rate = re.search(r"([\d.]+) req/s", text)
    calls = re.search(r"(\d+) total, .* (\d+) succeeded, (\d+) failed", text)
    data = re.search(r"\((\d+)\) data", text)
    assert rate is not None, text
    assert calls is not None, text
    assert data is not None, text
    # Those that were never sent are neither.
    return Report(float(rate[1]), int(calls[1]) - int(calls[2]), int(data[1]))


def read_log(text: str) -> NDArray[np.float64]:
    """The duration of each call in milliseconds: a line has its start, its HTTP status and its microseconds."""
    return np.array([int(line.split("\t")[2]) for line in text.splitlines()], np.float64) / 1000
