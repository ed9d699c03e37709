"""The demo: its callers tell which versions answered them, in which order, and what failed; it knows every verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.statistics import Verdict
from examples.complete_journey.demo import VERDICTS
from examples.complete_journey.load import CALLERS, Load
from tests.support.bundles import release_bundle
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import running

if TYPE_CHECKING:
    from pathlib import Path

    from examples.complete_journey.load import Features

HOUSEHOLDS: list[tuple[str, Features]] = [
    (str(number), {"recency_days": float(number), "frequency": 3.0, "channel": "web", "of_another_model": 1.0})
    for number in range(2 * CALLERS)
]
WEIGHTS = {"1": 0.01, "2": 0.02}


def test_every_caller_hears_the_versions_in_the_order_of_their_releases(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1", WEIGHTS["1"])
    with running(tmp_path, poll_seconds=0.01) as server:
        load = Load(f"127.0.0.1:{server.port}", HOUSEHOLDS)
        with load.running():
            load.wait_for("1", PATIENCE_SECONDS)
            for version in ("2", "1"):
                release_bundle(tmp_path, version, WEIGHTS[version])
                load.wait_for(version, PATIENCE_SECONDS)
    assert load.orders == {("1", "2", "1")}
    assert load.failures == []
    assert all(load.answers[version] >= CALLERS for version in WEIGHTS)


def test_a_version_that_never_comes_and_a_call_that_fails_are_told(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    with running(tmp_path, poll_seconds=0.01) as server:
        # A number where the model wants a text.
        refused: list[tuple[str, Features]] = [("refused", {**HOUSEHOLDS[0][1], "channel": 7.0})]
        load = Load(f"127.0.0.1:{server.port}", HOUSEHOLDS + refused)
        with load.running():
            eventually(lambda: load.failures and load.answers, "answers and failures")
            load.wait_for("2", seconds=0.01)
    assert load.orders != {("1", "2", "1")}
    assert "channel" in load.failures[0]


def test_whatever_an_audit_comes_to_is_explained() -> None:
    assert set(VERDICTS) == {verdict.value for verdict in Verdict}
