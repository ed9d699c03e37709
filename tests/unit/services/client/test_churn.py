"""The churn client against real servers."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from model_registry.bundle import read_bundle
from model_registry.release import bundle_folder, read_release
from model_registry.schema import Status
from model_registry.servable import Servable
from regulars.scoring.v1 import scoring_pb2
from services.client import CallError, ChurnClient, customer_table
from services.client.stream import WINDOW
from tests.support.bundles import BREAKING, SLOW_ABOVE, awkward_graph, probability, random_columns, release_bundle
from tests.support.calls import table_of
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from model_registry.columns import Columns

    Features = dict[str, float | str | None]

LONG = SLOW_ABOVE + 1_000_000
"""Orders of a customer whom the awkward graph scores for a good part of a second."""

GOOD: Features = {"recency_days": 10, "frequency": 2.0, "channel": "web"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    release_bundle(folder, "7", model=awkward_graph())
    return folder


@pytest.fixture(scope="module")
def client(bundles: Path) -> Iterator[ChurnClient]:
    with running(bundles, max_rows=500) as server, ChurnClient(f"127.0.0.1:{server.port}") as open_client:
        yield open_client


def customers(rows: int, seed: int) -> Columns:
    columns = random_columns(rows, seed)
    # 13 orders break the awkward graph.
    columns.numeric[:, 1] = np.floor(columns.numeric[:, 1]) + 0.5
    return columns


@contextmanager
def silent() -> Iterator[str]:
    """The address of somebody who takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def servable_of(bundles: Path) -> Servable:
    release = read_release(bundles, "churn")
    assert release is not None
    return Servable(read_bundle(bundle_folder(bundles, "churn", release.digest)))


def test_one_customer_is_scored(client: ChurnClient) -> None:
    answer = client.predict("c1", {"recency_days": 10, "frequency": 2.0, "channel": "web"})
    assert answer.prediction.customer_id == "c1"
    assert answer.prediction.churn_probability == pytest.approx(probability(10, 2, "web"))
    assert answer.model_version.version == "7"


def test_the_model_is_described(client: ChurnClient) -> None:
    model = client.get_model().model
    assert [entry.name for entry in model.inputs] == ["recency_days", "frequency", "channel"]


def test_a_table_gives_the_columns_that_offline_scoring_gives(client: ChurnClient, bundles: Path) -> None:
    columns = customers(300, seed=1)
    scores = servable_of(bundles).score(columns)
    answers = client.columns(client.batch_predict(table_of(columns)).predictions)
    np.testing.assert_array_equal(answers["churn_probability"], scores.values["churn_probability"])
    np.testing.assert_array_equal(answers["churn_probability_percentile"], scores.percentiles["churn_probability"])
    assert answers["status"].tolist() == [Status(status).name for status in scores.statuses.tolist()]
    bands = [None if band < 0 else ("LOW", "MEDIUM", "HIGH")[band] for band in scores.bands["churn_probability"]]
    assert answers["churn_probability_band"].tolist() == bands
    assert set(bands) == {None, "MEDIUM", "HIGH"}


def test_what_does_not_fit_names_its_violations(client: ChurnClient) -> None:
    with pytest.raises(CallError) as failed:
        client.predict("", {"recency": 10, "recency_days": 1, "channel": "web"})
    assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.reason == "INVALID_CUSTOMERS"
    assert failed.value.violations.keys() == {"customer.id", 'customer.numeric["recency"]'}


def test_a_call_that_takes_longer_than_its_deadline_is_given_up(client: ChurnClient) -> None:
    with pytest.raises(CallError) as failed:
        client.predict("slow", {"recency_days": 10, "frequency": LONG}, deadline=0.01)
    assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_every_call_but_the_stream_has_a_deadline() -> None:
    with silent() as target, ChurnClient(target) as client:
        for call in (
            lambda: client.get_model(deadline=0.01),
            lambda: client.predict("c1", {}, deadline=0.01),
            lambda: client.batch_predict(scoring_pb2.CustomerTable(), deadline=0.01),
        ):
            with pytest.raises(CallError) as failed:
                call()
            assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_refused_table_of_a_stream_answers_with_its_error_and_the_stream_goes_on(client: ChurnClient) -> None:
    good = customer_table(["a", "b"], {"recency_days": [1, 2]}, {})
    twice = customer_table(["a", "a"], {"recency_days": [1, 2]}, {})
    answers = list(client.stream_predict([good, twice, good]))
    assert [answer.WhichOneof("result") for answer in answers] == ["predictions", "error", "predictions"]
    error = CallError.from_status(answers[1].error)
    assert error.violations == {"customers.ids[1]": "stands earlier in this table"}
    assert list(answers[2].predictions.customer_ids) == ["a", "b"]


def test_a_stream_outlives_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """The source restarts the server when as many tables are in flight as there can be."""
    release_bundle(tmp_path, "1")
    columns = customers(50, seed=2)
    table = table_of(columns)
    with running(tmp_path) as first:
        port = first.port
        second = restarting(tmp_path, first)

        def source() -> Iterator[scoring_pb2.CustomerTable]:
            for number in range(40):
                if number == 2 * WINDOW:
                    next(second)
                yield table

        with ChurnClient(f"127.0.0.1:{port}") as client:
            answers = list(client.stream_predict(source()))
        assert next(second, None) is None
    assert [answer.sequence for answer in answers] == list(range(40))
    expected = servable_of(tmp_path).score(columns).values["churn_probability"]
    for answer in answers:
        np.testing.assert_array_equal(np.array(answer.predictions.churn_probabilities, np.float32), expected)


def restarting(bundles: Path, server: ServerProcess) -> Iterator[ServerProcess]:
    """Kills the server and yields another on the same port, as long as the iterator stands there."""
    port = server.port
    server.process.kill()
    server.process.wait(PATIENCE_SECONDS)
    with running(bundles, port=port) as another:
        yield another


def crowd(client: ChurnClient, *asked: tuple[str, Features]) -> list[object]:
    """What each of the callers got, who asked at once; of a failed call, its reason."""

    def ask(one: tuple[str, Features]) -> object:
        try:
            return client.predict(*one, deadline=PATIENCE_SECONDS)
        except CallError as error:
            return error.reason or error.code.name

    with ThreadPoolExecutor(len(asked)) as callers:
        return list(callers.map(ask, asked))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"recency": 1.0}, "INVALID_CUSTOMERS"),
        ({"recency_days": 1.0, "channel": 7.0}, "INVALID_CUSTOMERS"),
        ({"recency_days": 1.0, "frequency": BREAKING}, "INTERNAL"),
    ],
)
def test_a_bad_customer_among_a_crowd_is_told_why_and_the_others_are_scored(
    client: ChurnClient, bad: Features, reason: str
) -> None:
    expected = client.predict("a", GOOD)
    answers = crowd(client, *[("a", bad if at % 10 == 5 else GOOD) for at in range(60)])
    assert answers == [reason if at % 10 == 5 else expected for at in range(60)]


def test_a_crowd_without_a_server_is_told_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with ChurnClient(f"127.0.0.1:{port}") as client:
        assert crowd(client, *[("a", GOOD)] * 20) == ["UNAVAILABLE"] * 20


def test_a_crowd_whose_calls_hang_is_told_in_time() -> None:
    with silent() as target, ChurnClient(target) as client, ThreadPoolExecutor(20) as callers:

        def ask(_: int) -> CallError:
            with pytest.raises(CallError) as failed:
                client.predict("a", {}, deadline=0.2)
            return failed.value

        assert {error.code for error in callers.map(ask, range(20))} == {grpc.StatusCode.DEADLINE_EXCEEDED}


def version_of(client: ChurnClient) -> str | None:
    try:
        return client.predict("c1", {"recency_days": 10}).model_version.version
    except CallError as error:
        assert error.code is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - no other failure is in order
        return None


def test_a_server_that_comes_back_on_the_same_port_is_found_again(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    with running(tmp_path) as first:
        port = first.port
        with ChurnClient(f"127.0.0.1:{port}") as client:
            assert version_of(client) == "1"
            first.terminate()
            first.wait()
            # The channel learns that nothing is there, and begins to wait before it looks again.
            assert version_of(client) is None
            release_bundle(tmp_path, "2", 0.02)
            with running(tmp_path, port=port):
                eventually(lambda: found_version(client) == "2", "the client to find the new server")


def found_version(client: ChurnClient) -> str | None:
    try:
        return client.predict("c1", {"recency_days": 10}).model_version.version
    except CallError as error:
        if error.code is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None
