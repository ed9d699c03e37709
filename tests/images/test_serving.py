"""The serving image runs a server, as a restricted pod would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.bundles import columns, probability, release_bundle
from tests.support.calls import predict
from tests.support.images import hand_over

if TYPE_CHECKING:
    from tests.support.images import Image
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.images

BUNDLES = Path("/bundles")
ANYBODY = columns((10, 1, "web"))


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    release_bundle(tmp_path, "1")
    hand_over(tmp_path)
    return tmp_path


def assert_answers(server: ServerProcess) -> None:
    with server.channel() as channel:
        answer = predict(channel, ANYBODY)
    assert answer.prediction.churn_probability == pytest.approx(probability(10, 1, "web"))


def test_a_server_answers_and_drains(serving: Image, bundles: Path) -> None:
    variables = {"REGULARS_BUNDLES": str(BUNDLES), "REGULARS_PORT": "0"}
    with serving.running("serve", "churn", mounts={BUNDLES: bundles}, **variables) as server:
        server.wait_for("serving")
        assert_answers(server)
        server.terminate()
        assert server.wait() == 0
        assert [len(server.events(name)) for name in ("draining", "stopped")] == [1, 1]


def test_workers_keep_their_counts_in_tmp(serving: Image, bundles: Path) -> None:
    words = ("serve", "churn", "--bundles", BUNDLES, "--port", 0, "--workers", 2)
    with serving.running(*words, mounts={BUNDLES: bundles}) as server:
        server.wait_for("serving", 2)
        assert_answers(server)
        assert server.metric("grpc_server_handled_total", grpc_method="PredictChurn") == 1
        server.terminate()
        assert server.wait() == 0


def test_a_command_that_it_is_not_for_says_what_is_missing(serving: Image) -> None:
    with pytest.raises(AssertionError, match=r"regulars train needs \w+: pip install 'regulars\[training\]'"):
        serving("train", "churn")
