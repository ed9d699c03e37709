from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from prometheus_client import REGISTRY

from model_registry.bundle import BundleError
from services.churn.servicer import Answers
from services.core import manager as manager_module
from services.core.errors import NO_MODEL, Refusal
from services.core.logs import JsonFormatter
from services.core.manager import ModelManager
from services.core.metrics import MODEL_INFO
from tests.support.bundles import columns, graph, probability, release_bundle
from tests.support.polling import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from model_registry.bundle import Manifest


class Watched:
    """A manager over a folder, how often it said that a model is available, and what it counted."""

    def __init__(self, bundles: Path) -> None:
        self.bundles = bundles
        self.announced: list[str] = []
        self.manager = ModelManager(bundles, "churn", max_rows=10, answers=Answers, on_available=self._announce)
        self._before = {outcome: self._swaps(outcome) for outcome in ("served", "refused")}

    def _announce(self) -> None:
        self.announced.append(self.version())

    def _swaps(self, outcome: str) -> float:
        return REGISTRY.get_sample_value("regulars_swaps_total", {"model": "churn", "outcome": outcome}) or 0.0

    def swaps(self, outcome: str) -> float:
        return self._swaps(outcome) - self._before[outcome]

    def version(self) -> str:
        return self.manager.served().version.version

    def score(self) -> float:
        scores = self.manager.served().servable.score(columns((10, 1, "")))
        score: float = scores.values["churn_probability"].item()
        return score

    def name_damaged(self, version: str) -> Path:
        """Releases a version whose graph is cut off; returns its folder."""
        release = release_bundle(self.bundles, version, weight=0.5)
        place = self.bundles / "churn" / release.digest
        model = place / "model.onnx"
        model.write_bytes(model.read_bytes()[:-10])
        return place


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    # The page is the process's: another test's manager may have left its model there.
    MODEL_INFO.clear()
    watching = Watched(tmp_path)
    yield watching
    watching.manager.stop()


def infos() -> dict[tuple[str, str], float]:
    """Version and alias of every model info on the page."""
    return {
        (sample.labels["version"], sample.labels["alias"]): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "regulars_model_info"
    }


def test_without_a_release_there_is_no_model_and_nothing_is_announced(watched: Watched) -> None:
    watched.manager.look()
    with pytest.raises(Refusal) as refused:
        watched.manager.served()
    assert refused.value.kind is NO_MODEL
    assert watched.announced == []
    assert watched.swaps("refused") == 0


def test_a_release_is_served_and_announced_once_it_is_true(watched: Watched) -> None:
    release = release_bundle(watched.bundles, "1")
    watched.manager.look()
    assert watched.announced == ["1"]
    version = watched.manager.served().version
    assert (version.name, version.version, version.alias, version.bundle_digest) == (
        "churn",
        "1",
        "champion",
        release.digest,
    )
    assert version.schema_digest == watched.manager.served().servable.schema.digest
    assert watched.swaps("served") == 1


def test_a_new_release_is_swapped_in_and_announced_no_second_time(watched: Watched) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    held = watched.manager.served()
    release_bundle(watched.bundles, "2", weight=0.02)
    watched.manager.look()
    assert watched.version() == "2"
    assert watched.score() == pytest.approx(probability(10, 1, "", weight=0.02))
    # Who took the old version keeps it to the end of the request.
    old = held.servable.score(columns((10, 1, ""))).values["churn_probability"].item()
    assert old == pytest.approx(probability(10, 1, "", weight=0.01))
    assert watched.announced == ["1"]
    assert infos() == {("2", "champion"): 1.0}


def test_the_same_release_is_loaded_once(watched: Watched) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    served = watched.manager.served()
    watched.manager.look()
    assert watched.manager.served() is served
    assert watched.swaps("served") == 1


def damage(watched: Watched) -> None:
    watched.name_damaged("2")


def lose(watched: Watched) -> None:
    shutil.rmtree(watched.name_damaged("2"))


def scribble(watched: Watched) -> None:
    (watched.bundles / "churn" / "release.json").write_text("{")


def name_nonsense(watched: Watched) -> None:
    (watched.bundles / "churn" / "release.json").write_text('{"version": 2, "alias": "champion", "digest": "ab"}')


def release_another_model(watched: Watched) -> None:
    release_bundle(watched.bundles, "2", name="propensity")


def release_what_cannot_be_described(watched: Watched) -> None:
    release_bundle(watched.bundles, "2", horizon_days="a month")


def release_what_does_not_reproduce(watched: Watched) -> None:
    # The graph of one weight, the golden rows of another.
    release_bundle(watched.bundles, "2", 0.01, graph(0.3))


def swap_digests(watched: Watched) -> None:
    release = release_bundle(watched.bundles, "2", weight=0.02)
    (watched.bundles / "churn" / release.digest).rename(watched.bundles / "churn" / "abc")
    text = json.dumps({"version": "2", "alias": "champion", "digest": "abc"})
    (watched.bundles / "churn" / "release.json").write_text(text)


BAD_RELEASES = [
    damage,
    lose,
    scribble,
    name_nonsense,
    release_another_model,
    release_what_cannot_be_described,
    release_what_does_not_reproduce,
    swap_digests,
]


@pytest.mark.parametrize("spoil", BAD_RELEASES)
def test_a_bad_release_never_displaces_a_good_one(
    watched: Watched, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    spoil(watched)  # type: ignore[operator]  # one of the functions above
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            watched.manager.look()
    assert watched.version() == "1"
    assert watched.score() == pytest.approx(probability(10, 1, ""))
    # Counted and told once, not at every look.
    assert watched.swaps("refused") == 1
    (refusal,) = caplog.records
    assert json.loads(JsonFormatter().format(refusal))["reason"]
    assert infos() == {("1", "champion"): 1.0}


@pytest.mark.parametrize("spoil", BAD_RELEASES)
def test_a_bad_first_release_announces_nothing(watched: Watched, spoil: object) -> None:
    (watched.bundles / "churn").mkdir()
    spoil(watched)  # type: ignore[operator]  # one of the functions above
    watched.manager.look()
    assert watched.announced == []
    with pytest.raises(Refusal):
        watched.manager.served()


def refuse(manifest: Manifest) -> Answers:
    raise BundleError("the service cannot answer with this")


def test_a_bundle_that_the_service_cannot_answer_with_is_kept_out(tmp_path: Path) -> None:
    strict = ModelManager(tmp_path, "churn", max_rows=10, answers=refuse, on_available=lambda: pytest.fail("announced"))
    release_bundle(tmp_path, "1")
    strict.look()
    with pytest.raises(Refusal):
        strict.served()


def test_a_repaired_release_is_tried_again_after_a_while(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    place = watched.name_damaged("2")
    watched.manager.look()
    shutil.rmtree(place)
    release_bundle(watched.bundles, "2", weight=0.5)
    watched.manager.look()
    assert watched.version() == "1"
    monkeypatch.setattr(manager_module, "RETRY_SECONDS", 0.0)
    watched.manager.look()
    assert watched.version() == "2"
    assert (watched.swaps("refused"), watched.swaps("served")) == (1, 2)


def test_another_release_after_a_bad_one_is_loaded_at_once(watched: Watched) -> None:
    watched.name_damaged("1")
    watched.manager.look()
    release_bundle(watched.bundles, "2")
    watched.manager.look()
    assert watched.version() == "2"


def test_an_alias_or_version_alone_relabels_the_same_bundle(watched: Watched) -> None:
    release = release_bundle(watched.bundles, "1")
    watched.manager.look()
    for version, alias in (("1", "shadow"), ("9", "shadow")):
        text = json.dumps({"version": version, "alias": alias, "digest": release.digest})
        (watched.bundles / "churn" / "release.json").write_text(text)
        watched.manager.look()
        served = watched.manager.served().version
        assert (served.version, served.alias, served.bundle_digest) == (version, alias, release.digest)
        assert infos() == {(version, alias): 1.0}


def test_a_release_that_vanishes_leaves_the_served_one(watched: Watched) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    shutil.rmtree(watched.bundles / "churn")
    watched.manager.look()
    assert watched.version() == "1"


def test_a_started_manager_follows_by_itself_and_stops(watched: Watched) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.start(poll_seconds=0.01)
    assert watched.version() == "1"
    release_bundle(watched.bundles, "2", weight=0.02)
    eventually(lambda: watched.version() == "2", "the second release")
    watched.manager.stop()
    served = watched.manager.served()
    release_bundle(watched.bundles, "3", weight=0.03)
    assert watched.manager.served() is served


def test_when_the_served_bundle_came_is_on_the_page(watched: Watched) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    since = REGISTRY.get_sample_value("regulars_model_served_since_seconds", {"model": "churn"})
    assert since is not None
    assert np.isfinite(since)
    assert since > 1.6e9
