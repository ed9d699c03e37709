"""Streams whose callers do not keep up, or do not keep on: they cost a bounded time and bounded memory."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from regulars.churn.v1 import churn_pb2
from services.client import ChurnClient
from tests.support.bundles import columns, probability, random_columns, release_bundle
from tests.support.calls import OpenStream, failure_of, predict, table_of
from tests.support.http2 import RawCall
from tests.support.polling import eventually
from tests.support.server import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "/regulars.churn.v1.ChurnService/StreamPredictChurn"
STREAMS = 4
IDLE_SECONDS = 1.0
TABLE = table_of(random_columns(5000, seed=2))

MEBIBYTE = 1 << 20
GOOD = columns((10, 2, "web"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    release_bundle(tmp_path, "1")
    with running(tmp_path, bulk_calls=STREAMS, idle_seconds=IDLE_SECONDS) as process:
        yield process
        eventually(lambda: process.metric("regulars_calls_in_flight") == 0, "every place to be free")
        with process.channel() as channel:
            assert predict(channel, GOOD).prediction.churn_probability == pytest.approx(probability(10, 2, "web"))


def most_memory(server: ServerProcess) -> int:
    """The most that the process has ever held, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_callers_who_never_take_an_answer_are_cut_off_and_cost_no_memory(server: ServerProcess) -> None:
    with server.channel() as channel:
        stream = OpenStream(channel)
        assert stream.ask(1, TABLE).HasField("predictions")
        stream.end()
    before = most_memory(server)
    calls = [RawCall(server.port, STREAM, {}) for _ in range(STREAMS)]
    message = churn_pb2.StreamPredictChurnRequest(sequence=1, customers=TABLE).SerializeToString()
    sent = 0

    def send(call: RawCall) -> None:
        nonlocal sent
        while not call.ended:
            call.send(message, last=False)
            sent += len(message)

    threads = [threading.Thread(target=send, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # HTTP/2's windows let a few tables through, and the server ends the calls.
    assert sent < 2 * STREAMS * MEBIBYTE
    assert most_memory(server) - before < 32 * MEBIBYTE


def test_a_stream_whose_caller_says_nothing_gives_its_place_to_another(server: ServerProcess) -> None:
    with server.channel() as channel:
        silent = [OpenStream(channel) for _ in range(STREAMS)]
        eventually(lambda: server.metric("regulars_calls_in_flight", lane="bulk") == STREAMS, "the lane to fill")
        assert failure_of(lambda: OpenStream(channel).ask(1, TABLE)).reason == "SATURATED"
        assert {failure_of(lambda stream=stream: next(stream.call)).reason for stream in silent} == {"STREAM_IDLE"}  # type: ignore[misc]  # one each
        assert OpenStream(channel).ask(1, TABLE).HasField("predictions")


def test_the_suite_s_client_goes_on_after_a_source_that_made_it_wait(server: ServerProcess) -> None:
    standing_still = threading.Event()

    def slowly() -> Iterator[object]:
        for number in range(12):
            if number == 10:
                eventually(lambda: server.metric("regulars_calls_in_flight", lane="bulk") == 0, "its end", 60)
                standing_still.set()
            yield TABLE

    with ChurnClient(f"127.0.0.1:{server.port}") as client:
        answers = list(client.stream_predict(slowly()))  # type: ignore[arg-type]  # tables
    assert standing_still.is_set()
    assert [answer.sequence for answer in answers] == list(range(12))
    assert len({np.asarray(answer.predictions.churn_probabilities).tobytes() for answer in answers}) == 1
