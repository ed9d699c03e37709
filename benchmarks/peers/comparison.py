"""One run: all servers side by side on one core, their rounds in turn, so that a machine that drifts changes all."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.floor_server import FLOOR_METHOD
from benchmarks.harness import Page
from benchmarks.peers import plots, workloads
from benchmarks.peers.bentoml import BatchingBentoML, BentoML
from benchmarks.peers.board import Board
from benchmarks.peers.floors import BARE, COMPILED, EMPTY, FloorError, bare_runs, compiled_runs
from benchmarks.peers.h2load import Load, LoadError
from benchmarks.peers.mlflow_serve import Mlflow
from benchmarks.peers.mlserver import BatchingMLServer, LightgbmMLServer, MLServer
from benchmarks.peers.open_loop import Tally, interactive
from benchmarks.peers.peer import ROOT, Peer, Question
from benchmarks.peers.regulars import OpenInference, Regulars
from benchmarks.peers.running import PeerError, ask, installed, serving
from benchmarks.peers.subject import churn_subject, synthetic_subject
from benchmarks.peers.triton import Triton, TwofoldTriton, UnbatchedTriton
from benchmarks.serving import LOAD_CORE, environment, floor_server, pinned
from tests.trials.harness import percentile, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.peers.board import Workload
    from benchmarks.peers.running import Running
    from benchmarks.peers.subject import Subject
    from benchmarks.peers.workloads import ClosedLoop, Mixed, OpenLoop

SYSTEMS: tuple[Peer, ...] = (
    Regulars(),
    OpenInference(),
    Triton(),
    MLServer(),
    Mlflow(),
    BentoML(),
    UnbatchedTriton(),
    TwofoldTriton(),
    BatchingMLServer(),
    LightgbmMLServer(),
    BatchingBentoML(),
)
OWN = (Regulars.name, OpenInference.name)
BUSY_SHARE = 0.9
"""Of its rate in a closed loop: above it a queue has no end, and there is nothing to measure."""

CLIENT_SECONDS = 600


@dataclass(frozen=True)
class Effort:
    """Rounds and their seconds."""

    rounds: int = 4
    seconds: float = 1.5
    open_rounds: int = 3
    open_seconds: float = 4.0
    client_rounds: int = 3
    client_seconds: float = 3.0
    starts: int = 3
    bulk_tables: int = 1000
    json_tables: int = 50
    """Of a million in place of 1,000: at their pace a million would take most of the run."""


TRIAL = Effort(1, 0.5, 1, 2.0, 1, 1.0, 1, 50, 5)


@dataclass
class Comparison:
    """The figures so far, and what went wrong on the way to them."""

    systems: tuple[Peer, ...]
    effort: Effort
    folder: Path
    board: Board
    failures: list[str] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)
    _made: int = 0

    def new_folder(self) -> Path:
        self._made += 1
        return self.folder / str(self._made)

    def fail(self, text: str) -> None:
        say(text)
        self.failures.append(text)


def compare() -> Page:
    chosen = os.environ.get("PEERS", "").split()
    systems = tuple(peer for peer in SYSTEMS if not chosen or peer.name.partition(",")[0] in {"Regulars", *chosen})
    # A run that is told to end takes its servers along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended on request"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "synthetic").mkdir()
        (folder / "churn").mkdir()
        board = Board(tuple(peer.name for peer in systems if peer.name not in OWN))
        run = Comparison(systems, TRIAL if chosen else Effort(), folder, board)
        say("training the models")
        synthetic, churn = synthetic_subject(folder / "synthetic"), churn_subject(folder / "churn")
        os.sched_setaffinity(0, {LOAD_CORE})
        measure_synthetic(run, synthetic)
        start_ups(run, synthetic)
        measure_churn(run, churn)
    page = Page(page_of(run), tuple(run.failures))
    if chosen:
        sys.exit(
            f"{page.text}\nnot written, since not all peers took part" + "".join(f"\n{one}" for one in run.failures)
        )
    plots.draw(run.board, [peer.name for peer in systems if peer.main])
    return page


def measure_synthetic(run: Comparison, subject: Subject) -> None:
    known = run.folder / "known.npz"
    np.savez(known, rows=subject.rows.numeric, expected=subject.expected)
    with ExitStack() as stack:
        servers = start(run, subject, run.systems, stack)
        leading = [server for server in servers if server.peer.main]
        empty = stack.enter_context(floor_server(subject.bundles))
        for loop in workloads.UNARY:
            closed(run, loop, servers, {EMPTY: empty})
        for loop in workloads.TABLES:
            closed(run, loop, leading)
        for waiting in workloads.OPEN:
            open_loop(run, waiting, leading)
        for mixed in workloads.MIXED:
            mixed_load(run, mixed, [server for server in servers if server.peer.main or server.peer.takes_bulks])
        for server in leading:
            own_client(run, server, known)
            million(run, server, known)
    floors(run, subject, known)


def measure_churn(run: Comparison, subject: Subject) -> None:
    with ExitStack() as stack:
        servers = start(run, subject, (peer for peer in run.systems if peer.main), stack)
        for loop in workloads.REAL:
            closed(run, loop, servers)


def start(run: Comparison, subject: Subject, peers: Iterable[Peer], stack: ExitStack) -> list[Running]:
    """Those that started and answered right; of the others the page says why."""
    servers = []
    for peer in peers:
        say(f"starting {peer.name}")
        if not installed(peer):
            run.fail(f"{peer.name} is not installed in {peer.environment.name}")
            continue
        try:
            server = stack.enter_context(serving(peer, subject, run.new_folder()))
        except PeerError as error:
            run.fail(str(error))
            continue
        run.commands.setdefault(peer.name, server.command)
        servers.append(server)
    return servers


def closed(run: Comparison, loop: ClosedLoop, servers: list[Running], floors: dict[str, int] | None = None) -> None:
    """Rounds of calls to each in turn, as many in each as take about the same time."""
    loads = {server.peer.name: load_of(run, server, loop.rows) for server in servers}
    processors = {server.peer.name: server.processor_seconds for server in servers}
    for name, port in (floors or {}).items():
        loads[name] = Load("gRPC", port, Question(FLOOR_METHOD, b""), b"", run.new_folder())
    calls: dict[str, int] = {}
    for _ in range(run.effort.rounds):
        for name, load in loads.items():
            used = processors.get(name, lambda: 0.0)
            try:
                if name not in calls:
                    calls[name] = enough_calls(load, loop.connections, run.effort.seconds)
                before = used()
                result = load.run(loop.connections, calls[name])
            except LoadError as error:
                run.fail(f"{name}, {loop.title}: {error}")
                run.board.say(loop.rate, name, str(error))
                continue
            run.board.add(loop.rate, name, result.rate * loop.rows)
            run.board.add(loop.p50, name, result.p50)
            run.board.add(loop.p99, name, result.p99)
            if name in processors:
                run.board.add(loop.cost, name, (used() - before) / calls[name] * 1e6)
    tell(run, loop.rate)


def load_of(run: Comparison, server: Running, rows: int) -> Load:
    question = server.peer.question(server.subject, server.subject.rows.slice(0, rows))
    answer = ask(server.peer.wire, server.port, question)
    return Load(server.peer.wire, server.port, question, answer, run.new_folder())


def enough_calls(load: Load, connections: int, seconds: float) -> int:
    """Calls that take so long, as a warm-up tells."""
    warm = 10 * connections
    load.run(connections, warm)
    return max(warm, round(load.run(connections, warm).rate * seconds))


def open_loop(run: Comparison, loop: OpenLoop, servers: list[Running]) -> None:
    for number in range(run.effort.open_rounds):
        for server in servers:
            name = server.peer.name
            capacity = run.board.median(workloads.UNARY[-1].rate, name) or 0.0
            rate = loop.rate or loop.share * capacity
            if not 0 < rate <= BUSY_SHARE * capacity:
                for share in workloads.PERCENTILES:
                    run.board.say(loop.p(share), name, f"beyond its {capacity:,.0f}/s")
                continue
            tally, _ = interactive(server, rate, run.effort.open_seconds, number)
            for share in workloads.PERCENTILES:
                run.board.add(loop.p(share), name, tally.p(share))
            run.board.add(loop.failed, name, tally.failed)
            run.board.add(loop.refused, name, tally.refused)
            run.board.add(loop.late, name, percentile(tally.late, 99))
            if loop.share:
                run.board.add(loop.own_rate, name, rate)
    tell(run, loop.p(99))


def mixed_load(run: Comparison, mixed: Mixed, servers: list[Running]) -> None:
    for number in range(run.effort.open_rounds):
        for server in servers:
            name = server.peer.name
            tally, rate = interactive(server, mixed.rate, run.effort.open_seconds, number, mixed.in_flight)
            _count(run, mixed, name, tally)
            if mixed.in_flight:
                run.board.add(mixed.bulk, name, rate)
    tell(run, mixed.p(99))


def _count(run: Comparison, mixed: Mixed, name: str, tally: Tally) -> None:
    run.board.add(mixed.p(50), name, tally.p(50))
    run.board.add(mixed.p(99), name, tally.p(99))
    run.board.add(mixed.failed, name, tally.failed)
    run.board.add(mixed.refused, name, tally.refused)


def own_client(run: Comparison, server: Running, known: Path) -> None:
    """What a backend in Python sees, by 32 callers at once."""
    peer, board = server.peer, run.board
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(run.effort.client_rounds):
        for client in peer.clients:
            script, mode = client.split()
            try:
                figures = run_client(server, script, known, mode, run.effort.client_seconds)
            except PeerError as error:
                run.fail(str(error))
                continue
            found.setdefault(mode, []).append(figures)
            board.add(workloads.THREADS if mode == "threads" else workloads.TASKS, peer.name, figures["rate"])
    if not found:
        return
    best = max(found.values(), key=lambda rounds: statistics.median(one["rate"] for one in rounds))
    for figures in best:
        board.add(workloads.CLIENT_RATE, peer.name, figures["rate"])
        board.add(workloads.CLIENT_P50, peer.name, figures["p50"])
        board.add(workloads.CLIENT_P99, peer.name, figures["p99"])
    tell(run, workloads.CLIENT_RATE)


def million(run: Comparison, server: Running, known: Path) -> None:
    peer = server.peer
    if not peer.clients:
        return
    tables = run.effort.bulk_tables if peer.wire == "gRPC" else run.effort.json_tables
    try:
        figures = run_client(server, peer.clients[0].split()[0], known, "bulk", tables)
    except PeerError as error:
        run.fail(str(error))
        return
    run.board.add(workloads.BULK, peer.name, figures["rate"])
    tell(run, workloads.BULK)


def run_client(server: Running, script: str, known: Path, mode: str, size: float) -> dict[str, float]:
    """Runs a client's script on the load's core.

    Raises:
        PeerError: it failed, or an answer was wrong.
    """
    module = f"benchmarks.peers.clients.{script}"
    command = [server.peer.program("python"), "-m", module, str(server.port), str(known), mode, str(size)]
    done = subprocess.run(
        pinned(LOAD_CORE, command),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        cwd=ROOT,
        timeout=CLIENT_SECONDS,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise PeerError(f"{server.peer.name}, its client by {mode}: {lines[-1][:200]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def start_ups(run: Comparison, subject: Subject) -> None:
    """Each alone, so that none waits for another's start."""
    for _ in range(run.effort.starts):
        for peer in run.systems:
            # What did not start did not answer either.
            if not peer.main or peer.name == OpenInference.name or peer.name not in run.commands:
                continue
            try:
                with serving(peer, subject, run.new_folder()) as server:
                    run.board.add(workloads.START, peer.name, server.seconds)
                    run.board.add(workloads.MEMORY, peer.name, server.memory_mb())
            except PeerError as error:
                run.fail(str(error))
    tell(run, workloads.START)


def floors(run: Comparison, subject: Subject, known: Path) -> None:
    measures: dict[str, Callable[[int, int], float]] = {
        BARE: lambda rows, runs: bare_runs(subject, rows, runs),
        COMPILED: lambda rows, runs: compiled_runs(subject, known, rows, runs),
    }
    for name, measure in measures.items():
        try:
            for loop in (workloads.UNARY[0], *workloads.TABLES):
                runs = max(20, round(run.effort.seconds * 20_000 / loop.rows))
                for _ in range(run.effort.rounds):
                    run.board.add(loop.rate, name, measure(loop.rows, runs) * loop.rows)
        except FloorError as error:
            run.fail(f"{name}: {error}")


def tell(run: Comparison, workload: Workload) -> None:
    """How far it is, and what came out."""
    medians = {name: run.board.median(workload, name) for name in run.board.figures.get(workload, {})}
    shown = ", ".join(f"{name} {median:,.4g}" for name, median in medians.items() if median is not None)
    say(f"{workload.name} ({workload.unit}): {shown}")


def page_of(run: Comparison) -> str:
    board = run.board
    leading = [peer.name for peer in run.systems if peer.main]
    others = [peer.name for peer in run.systems if not peer.main]
    tried = [loop.rate for loop in workloads.UNARY]
    tried += [figure for mixed in workloads.MIXED for figure in (mixed.p(99), mixed.bulk)]
    parts = [
        INTRODUCTION,
        board.table(list(board.figures), [*leading, EMPTY, BARE, COMPILED]),
        *(f"![{text}](plots/{file})" for file, text in plots.PLOTS.items()),
        "### Where Regulars loses",
        losses(board),
        "### Other settings that were tried",
        board.table(tried, [*leading, *others]),
        "### Systems",
        systems(run),
    ]
    if run.failures:
        parts += ["### What failed", "\n".join(f"- {failure}" for failure in run.failures)]
    return "\n\n".join(parts) + "\n"


def losses(board: Board) -> str:
    by_reason: dict[str, list[str]] = {}
    for loss in board.losses():
        by_reason.setdefault(loss.workload.why, []).append(loss.loss)
    if not by_reason:
        return "Nowhere in this run."
    return "\n".join(f"- {'; '.join(lines)}. {reason}" for reason, lines in by_reason.items())


def systems(run: Comparison) -> str:
    rows = ["| system | settings | versions | command |", "|---|---|---|---|"]
    for peer in run.systems:
        if not installed(peer):
            continue
        versions = ", ".join(f"{name} {version}" for name, version in peer.versions().items())
        command = run.commands.get(peer.name, "did not start").replace(str(run.folder), "FOLDER")
        command = command.replace(f"{ROOT}/", "")
        rows.append(f"| {peer.name} | {peer.settings} | {versions} | `{command}` |")
    return "\n".join(rows)


INTRODUCTION = """\
By `./dev bench peers`. Each server runs on one core, the load on another, all of them in one run and their rounds in
turn; the same graph in the same ONNX Runtime for all, except where the name says LightGBM. Figures are medians, with
their least and largest. Every system's answers were compared with the graph's own scores (to 1e-6) before it was
measured. The last column is Regulars against the best of Triton, MLServer, MLflow and BentoML, with whichever of the
settings tried (further down) is best for that row: above 1 it is better, below 0.98 (bold) it loses.

Closed loops are h2load's, one call in flight on each connection, over HTTP/2 for gRPC and HTTP/1.1 for JSON. In an
open loop callers come by one schedule for all, at random as callers do, and a call's time counts from when it was due.
A call that Regulars refuses, because 32 are in flight, is made again when it says so, as gRPC's clients do; that is
part of its time. A bulk is a stream at Regulars, elsewhere calls of 1,000 customers. Own clients are `ChurnClient`,
`tritonclient` (Triton and MLServer), requests and aiohttp (MLflow) and BentoML's; each builds its request from a list
of floats and checks the score. The 32 threads share one `ChurnClient`, which sends those who meet as tables; the other
clients send a call for each customer, whatever their server gathers. MLflow and BentoML send 50,000 customers in place
of a million. Memory counts all processes of a server, pages that they share once. The compiled trees are lleaves.

The real churn model is that of Complete Journey, 31 numbers and a text; its customers are those of whom nothing is
missing, since JSON has no NaN. All systems take the text as it is."""
