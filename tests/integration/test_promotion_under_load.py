"""Releases change while callers call: nobody notices, except by the version that answers."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_registry.bundle import read_bundle
from model_registry.release import RELEASE_FILE
from model_registry.servable import Servable
from tests.support.bundles import columns, random_columns, release_bundle
from tests.support.calls import OpenStream, predict, predict_batch, table_of
from tests.support.polling import eventually
from tests.support.scores import bits
from tests.support.server import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import grpc

FLIPS = 20
WEIGHTS = {"odd": 0.01, "even": 0.02}
EVERYBODY = random_columns(64, seed=5)
EVERYBODY.numeric[:, 0] = np.clip(EVERYBODY.numeric[:, 0], 0, 90)
TABLE = table_of(EVERYBODY)


@dataclass
class Caller:
    """A thread that calls until it is told to stop; every answer is a version and what it said."""

    call: Callable[[grpc.Channel], tuple[str, list[int], list[float]]]
    channel: grpc.Channel
    answers: list[tuple[str, list[int], list[float]]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.answers.append(self.call(self.channel))
            except Exception as error:  # noqa: BLE001 - any failure fails the test
                self.failures.append(error)
                return

    def stop(self) -> None:
        self.stopping.set()
        self._thread.join()


def by_row(channel: grpc.Channel) -> tuple[str, list[int], list[float]]:
    row = int(np.random.default_rng().integers(len(EVERYBODY)))
    answer = predict(channel, EVERYBODY, row)
    return answer.model_version.version, [row], [answer.prediction.churn_probability]


def by_batch(channel: grpc.Channel) -> tuple[str, list[int], list[float]]:
    answer = predict_batch(channel, TABLE)
    return answer.model_version.version, list(range(len(EVERYBODY))), list(answer.predictions.churn_probabilities)


def by_stream(channel: grpc.Channel) -> tuple[str, list[int], list[float]]:
    stream = OpenStream(channel)
    stream.ask(1, TABLE)
    answer = stream.ask(2, TABLE)
    stream.end()
    list(stream.call)
    return answer.model_version.version, list(range(len(EVERYBODY))), list(answer.predictions.churn_probabilities)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    release_bundle(tmp_path, "odd", WEIGHTS["odd"])
    with running(tmp_path, poll_seconds=0.01) as running_server:
        yield running_server


def test_nobody_fails_and_every_answer_is_that_of_the_version_it_names(server: ServerProcess, tmp_path: Path) -> None:
    offline = {}
    for version, weight in WEIGHTS.items():
        release = release_bundle(tmp_path, version, weight)
        bundle = read_bundle(tmp_path / "churn" / release.digest)
        offline[version] = bits(Servable(bundle).score(EVERYBODY).values["churn_probability"])
    assert (offline["odd"] != offline["even"]).any()

    callers = [Caller(call, server.channel()) for call in (by_row, by_row, by_batch, by_stream)]
    try:
        for flip in range(FLIPS):
            version = "odd" if flip % 2 else "even"
            before = server.metric("regulars_swaps_total", outcome="served")
            seen = [len(caller.answers) for caller in callers]
            release_bundle(tmp_path, version, WEIGHTS[version])
            eventually(
                lambda version=version: server.metric("regulars_model_info", version=version) == 1,  # type: ignore[misc]  # bound now
                f"version {version} to be served",
            )
            # The first release of the loop may be served already.
            assert server.metric("regulars_swaps_total", outcome="served") >= before
            eventually(
                lambda seen=seen: all(  # type: ignore[misc]  # bound now
                    len(caller.answers) > count or caller.failures for caller, count in zip(callers, seen, strict=True)
                ),
                "an answer to everybody between two flips",
            )
    finally:
        for caller in callers:
            caller.stop()
            caller.channel.close()

    assert [caller.failures for caller in callers] == [[], [], [], []]
    assert server.metric("regulars_swaps_total", outcome="served") >= FLIPS
    assert server.metric("regulars_swaps_total", outcome="refused") == 0
    for caller in callers:
        assert {version for version, _, _ in caller.answers} == set(WEIGHTS)
        for version, rows, probabilities in caller.answers:
            np.testing.assert_array_equal(bits(np.array(probabilities, np.float32)), offline[version][rows])


ONE = columns((10, 1, "web"))


def version_of(channel: grpc.Channel) -> str:
    return predict(channel, ONE).model_version.version


def cut_off(bundles: Path) -> None:
    release = release_bundle(bundles, "bad", 0.3)
    model = bundles / "churn" / release.digest / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])


def not_there(bundles: Path) -> None:
    (bundles / "churn" / RELEASE_FILE).write_text('{"version": "bad", "alias": "champion", "digest": "abc"}')


def unreadable(bundles: Path) -> None:
    (bundles / "churn" / RELEASE_FILE).write_text("{")


def of_another_model(bundles: Path) -> None:
    release_bundle(bundles, "bad", 0.3, name="cltv")


def deleted(bundles: Path) -> None:
    shutil.rmtree(bundles / "churn")


@pytest.mark.parametrize("spoil", [cut_off, not_there, unreadable, of_another_model, deleted])
def test_a_bad_release_displaces_nothing_and_the_next_good_one_is_served(
    server: ServerProcess, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    with server.channel() as channel:
        assert version_of(channel) == "odd"
        spoil(tmp_path)
        (refusal,) = server.wait_for("release refused")
        assert (refusal["serving"], "; sync" in refusal["reason"]) == ("odd", True)
        assert server.metric("regulars_swaps_total", outcome="refused") >= 1
        assert server.metric("regulars_model_info", version="odd") == 1
        assert version_of(channel) == "odd"
        release_bundle(tmp_path, "good", 0.04)
        eventually(lambda: version_of(channel) == "good", "the next good release")
