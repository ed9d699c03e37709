"""A peer's server as a process: until it answers right, what it holds, and its end with all of its children."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil

from benchmarks.serving import SERVER_CORE, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers.peer import Peer, Question, Wire
    from benchmarks.peers.subject import Subject

START_SECONDS = 90.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.02
ASK_SECONDS = 30.0

TOLERANCE = 1e-6
"""Largest deviation of a probability: float32 has 7 digits, and LightGBM sums its trees in another order than ONNX."""


class PeerError(Exception):
    """A peer that did not start, or answers wrong. Says which and why."""


@dataclass(frozen=True)
class Running:
    """A server that has answered right; `seconds` from its start to that."""

    peer: Peer
    subject: Subject
    port: int
    pid: int
    seconds: float
    command: str

    def memory_mb(self) -> float:
        """Of all its processes, pages that they share counted once."""
        return sum(process.memory_full_info().pss for process in _family(self.pid)) / 2**20

    def processor_seconds(self) -> float:
        """What all its processes have used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in _family(self.pid))


@contextmanager
def serving(peer: Peer, subject: Subject, folder: Path) -> Iterator[Running]:
    """Starts the server on its core in a new `folder`.

    Raises:
        PeerError: it ended, or did not answer right in time.
    """
    folder.mkdir()
    ports = _free_ports()
    try:
        start = peer.prepare(subject, folder, ports)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise PeerError(f"{peer.name}: nothing to serve could be written: {error}") from error
    log = folder / "log"
    began = time.perf_counter()
    with ExitStack() as stack:
        process = subprocess.Popen(
            pinned(SERVER_CORE, start.command),
            cwd=folder,
            env={**_environment(), **start.variables},
            stdout=stack.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(_stop, process)
        _await_answer(peer, subject, ports[0], process, log)
        seconds = time.perf_counter() - began
        check(peer, subject, ports[0])
        command = " ".join([Path(start.command[0]).name, *start.command[1:]]).replace(str(folder), "FOLDER")
        yield Running(peer, subject, ports[0], process.pid, seconds, command)


def check(peer: Peer, subject: Subject, port: int) -> None:
    """Compares answers of one, a hundred and all rows with the graph's own scores.

    Raises:
        PeerError: an answer is another.
    """
    for count in (1, 100, len(subject.rows)):
        answer = ask(peer.wire, port, peer.question(subject, subject.rows.slice(0, count)))
        scores, expected = peer.scores(answer), subject.expected[:count]
        if scores.shape != expected.shape or not np.allclose(scores, expected, rtol=0, atol=TOLERANCE):
            raise PeerError(f"{peer.name}: its scores of {count:,} customers are not those of the model")


def ask(wire: Wire, port: int, question: Question) -> bytes:
    """One call on a connection of its own.

    Raises:
        grpc.RpcError: a gRPC call failed.
        OSError: the server is not there.
        http.client.HTTPException: it answered no 200.
    """
    if wire == "gRPC":
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            call = channel.unary_unary(question.path, bytes, bytes)
            answer: bytes = call(question.body, timeout=ASK_SECONDS)
            return answer
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        connection.request("POST", question.path, question.body, {"content-type": "application/json"})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise http.client.HTTPException(f"{response.status}: {body[:200]!r}")
    return body


def _await_answer(peer: Peer, subject: Subject, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    question = peer.question(subject, subject.rows.slice(0, 1))
    deadline = time.perf_counter() + START_SECONDS
    reason = "it did not listen"
    while process.poll() is None and time.perf_counter() < deadline:
        try:
            ask(peer.wire, port, question)
        except (grpc.RpcError, OSError, http.client.HTTPException) as error:
            reason = str(error).partition("\n")[0]
            time.sleep(LOOK_SECONDS)
        else:
            return
    lines = log.read_text(errors="replace").strip().splitlines()
    why = reason if process.poll() is None else f"it ended with {process.returncode}"
    raise PeerError(f"{peer.name} did not start: {why}; its last line: {lines[-1][:200] if lines else 'none'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and whatever it started."""
    ours = _family(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    left = {*ours, *_family(process.pid)}
    for other in left:
        with suppress(psutil.NoSuchProcess):
            other.kill()
    process.wait()
    psutil.wait_procs(list(left), STOP_SECONDS)


def _family(leader: int) -> list[psutil.Process]:
    """The process, its children, who may have sessions of their own, and whoever is left in its session."""
    found = {process for process in psutil.process_iter() if _session(process.pid) == leader}
    with suppress(psutil.NoSuchProcess):
        found |= {*psutil.Process(leader).children(recursive=True)}
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _environment() -> dict[str, str]:
    """Ours without what is meant for us: a Regulars server refuses settings that it does not know."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("REGULARS_", "PYTHON"))}


def _free_ports() -> tuple[int, int, int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        first, second, third = (one.getsockname()[1] for one in sockets)
    return first, second, third


def installed(peer: Peer) -> bool:
    return (peer.environment / "bin" / "python").exists()
