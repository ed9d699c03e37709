"""The client over real workers that die, and over a server that drains: its callers notice nothing."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from services.client import CallError, ChurnClient
from tests.support.bundles import SLOW_ABOVE, awkward_graph, columns, probability, random_columns, release_bundle
from tests.support.calls import features_of, table_of
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import SUPERVISOR, ServerProcess, running

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 4
SECONDS = 10.0
RATE = 200
"""Calls a second."""
FROZEN_SECONDS = 0.05
"""Before a worker dies it takes calls and answers none, as one does whose machine is too busy."""

GOOD = columns((10, 2, "web"))


def ports_state(worker: psutil.Process) -> set[str]:
    try:
        return {connection.status for connection in worker.net_connections("tcp")}
    except psutil.Error:
        return set()


def victim(server: ServerProcess) -> psutil.Process | None:
    """A worker with a caller's connection, if another one can take the callers."""
    workers = psutil.Process(server.process.pid).children()
    states = {worker: ports_state(worker) for worker in workers}
    listening = [worker for worker in workers if psutil.CONN_LISTEN in states[worker]]
    connected = [worker for worker in listening if psutil.CONN_ESTABLISHED in states[worker]]
    return connected[0] if connected and len(listening) > 1 else None


def test_nobody_notices_that_one_worker_after_the_other_dies(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    failures: list[CallError] = []
    calls = int(SECONDS * RATE)
    kills = 0

    def call(number: int) -> None:
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        try:
            answer = client.predict(f"c{number}", features_of(GOOD), deadline=PATIENCE_SECONDS)
        except CallError as error:
            failures.append(error)
        else:
            assert answer.prediction.churn_probability == pytest.approx(probability(10, 2, "web"))

    with (
        running(tmp_path, command=SUPERVISOR, workers=WORKERS) as server,
        ChurnClient(f"127.0.0.1:{server.port}") as client,
    ):
        server.wait_for("listening", WORKERS)
        client.get_model(deadline=PATIENCE_SECONDS)
        began = time.monotonic()
        with ThreadPoolExecutor(32) as callers:
            called = callers.map(call, range(calls))
            while time.monotonic() < began + SECONDS - 1:
                time.sleep(1)
                worker = victim(server)
                if worker is not None:
                    worker.send_signal(signal.SIGSTOP)
                    time.sleep(FROZEN_SECONDS)
                    worker.send_signal(signal.SIGKILL)
                    kills += 1
            assert len(list(called)) == calls
    assert kills >= 2, "hardly ever were there two workers"
    assert failures == []


def test_a_stream_goes_on_with_another_worker_when_its_own_drains_or_dies(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    table = table_of(random_columns(50, seed=1))
    with (
        running(tmp_path, command=SUPERVISOR, workers=2) as server,
        ChurnClient(f"127.0.0.1:{server.port}") as client,
    ):
        server.wait_for("listening", 2)
        expected = client.batch_predict(table, deadline=PATIENCE_SECONDS).predictions
        answers = client.stream_predict(table for _ in range(40))
        for number, answer in enumerate(answers):
            assert answer.sequence == number
            np.testing.assert_array_equal(answer.predictions.churn_probabilities, expected.churn_probabilities)
            if number in {5, 20}:
                worker = eventually(lambda: victim(server), "two workers that listen")
                worker.send_signal(signal.SIGTERM if number == 5 else signal.SIGKILL)
        assert number == 39


def test_a_stream_whose_server_runs_out_of_grace_is_finished_by_another(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1", model=awkward_graph())
    # Two seconds and more, of a grace of a fifth.
    slow = table_of(columns((10, SLOW_ABOVE + 1_000_000, "web")))
    with (
        running(tmp_path, command=SUPERVISOR, workers=2, grace_seconds=0.2) as server,
        ChurnClient(f"127.0.0.1:{server.port}") as client,
    ):
        server.wait_for("listening", 2)
        answers = client.stream_predict([table_of(GOOD), slow, table_of(GOOD)])
        assert next(answers).sequence == 0
        worker = eventually(lambda: victim(server), "two workers that listen")
        eventually(lambda: server.metric("regulars_calls_in_flight", lane="bulk") == 1, "the stream")
        worker.send_signal(signal.SIGTERM)
        assert [answer.sequence for answer in answers] == [1, 2]
