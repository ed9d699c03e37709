from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from prometheus_client import REGISTRY

from model_registry.bundle import LARGEST_BYTES, BundleError, Golden, read_bundle, write_bundle
from model_registry.release import RELEASE_FILE
from model_registry.schema import Band
from services.churn.servicer import Answers
from services.core import manager as manager_module
from services.core.errors import NO_MODEL, Refusal
from services.core.logs import JsonFormatter
from services.core.manager import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, ModelManager
from services.core.metrics import MODEL_INFO
from tests.support.bundles import (
    BREAKING,
    SCHEMA,
    awkward_graph,
    columns,
    graph,
    manifest,
    probability,
    release_bundle,
    release_draft,
)
from tests.support.polling import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from model_registry.bundle import Manifest


class Watched:
    """A manager over a folder, how often it said that a model is available, and what it counted."""

    def __init__(self, bundles: Path) -> None:
        self.bundles = bundles
        self.announced: list[str] = []
        self.seconds = 0.0
        self.manager = ModelManager(
            bundles, "churn", max_rows=10, answers=Answers, on_available=self._announce, clock=lambda: self.seconds
        )
        self._before = {outcome: self._swaps(outcome) for outcome in ("served", "refused")}

    def _announce(self) -> None:
        self.announced.append(self.version())

    def _swaps(self, outcome: str) -> float:
        return REGISTRY.get_sample_value("regulars_swaps_total", {"model": "churn", "outcome": outcome}) or 0.0

    def swaps(self, outcome: str) -> float:
        return self._swaps(outcome) - self._before[outcome]

    def version(self) -> str:
        return self.manager.served().version.version

    @property
    def release_file(self) -> Path:
        return self.bundles / "churn" / RELEASE_FILE

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


def falsify(watched: Watched) -> None:
    sums = watched.name_damaged("2") / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("0", "1"))


def lose_a_file(watched: Watched) -> None:
    (watched.name_damaged("2") / "golden.json").unlink()


def link_out(watched: Watched) -> None:
    model = watched.name_damaged("2") / "model.onnx"
    model.rename(watched.bundles / "elsewhere")
    model.symlink_to(watched.bundles / "elsewhere")


def swell(watched: Watched) -> None:
    place = watched.name_damaged("2")
    os.truncate(place / "golden.json", LARGEST_BYTES["golden.json"] + 1)


def scribble(watched: Watched) -> None:
    watched.release_file.write_text("{")


def write_endlessly(watched: Watched) -> None:
    watched.release_file.write_text("{" + " " * 10_000)
    os.truncate(watched.release_file, 2**40)


def lay_a_pipe(watched: Watched) -> None:
    watched.release_file.unlink(missing_ok=True)
    os.mkfifo(watched.release_file)


def put_a_folder(watched: Watched) -> None:
    watched.release_file.unlink(missing_ok=True)
    watched.release_file.mkdir()


def replace_the_folder(watched: Watched) -> None:
    shutil.rmtree(watched.bundles / "churn")
    (watched.bundles / "churn").write_text("")


def name_nonsense(watched: Watched) -> None:
    watched.release_file.write_text('{"version": 2, "alias": "champion", "digest": "ab"}')


def release_another_model(watched: Watched) -> None:
    release_bundle(watched.bundles, "2", name="propensity")


def release_what_the_service_cannot_answer_with(watched: Watched) -> None:
    bands = (Band("LOW", 0.0), Band("HIGH", 0.5))
    schema = replace(SCHEMA, outputs=(replace(SCHEMA.outputs[0], bands=bands),))
    release_bundle(watched.bundles, "2", schema=schema)


def release_what_gives_nan(watched: Watched) -> None:
    rows = columns((10.0, BREAKING, "web"))
    manner = Golden(rows, {"churn_probability": np.array([0.5], np.float32)})
    draft = watched.bundles / "churn" / ".draft"
    write_bundle(draft, manifest(), awkward_graph().SerializeToString(), manner)
    release_draft(watched.bundles, "2", draft, read_bundle(draft))


def release_what_cannot_be_described(watched: Watched) -> None:
    release_bundle(watched.bundles, "2", horizon_days="a month")


def release_what_does_not_reproduce(watched: Watched) -> None:
    # The graph of one weight, the golden rows of another.
    release_bundle(watched.bundles, "2", 0.01, graph(0.3))


def swap_digests(watched: Watched) -> None:
    release = release_bundle(watched.bundles, "2", weight=0.02)
    (watched.bundles / "churn" / release.digest).rename(watched.bundles / "churn" / "abc")
    watched.release_file.write_text(json.dumps({"version": "2", "alias": "champion", "digest": "abc"}))


BAD_RELEASES = [
    damage,
    falsify,
    lose,
    lose_a_file,
    link_out,
    swell,
    scribble,
    write_endlessly,
    lay_a_pipe,
    put_a_folder,
    replace_the_folder,
    name_nonsense,
    release_another_model,
    release_what_the_service_cannot_answer_with,
    release_what_gives_nan,
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
    told = json.loads(JsonFormatter().format(refusal))
    assert told["serving"] == "1"
    reason, remedy = told["reason"].rsplit("; ", 1)
    assert reason
    assert remedy.startswith(("sync", "retrain", "train a smaller model", "see the trace"))
    assert infos() == {("1", "champion"): 1.0}


@pytest.mark.parametrize("spoil", BAD_RELEASES)
def test_a_bad_first_release_announces_nothing(watched: Watched, spoil: object) -> None:
    (watched.bundles / "churn").mkdir()
    spoil(watched)  # type: ignore[operator]  # one of the functions above
    watched.manager.look()
    assert watched.announced == []
    with pytest.raises(Refusal):
        watched.manager.served()


def test_calls_may_interrupt_a_loading_sooner_than_each_other(tmp_path: Path) -> None:
    usual, meanwhile = sys.getswitchinterval(), []

    def look_at_the_interval(manifest: Manifest) -> Answers:
        meanwhile.append(sys.getswitchinterval())
        raise BundleError("enough seen")

    release_bundle(tmp_path, "1")
    ModelManager(tmp_path, "churn", max_rows=10, answers=look_at_the_interval, on_available=lambda: None).look()
    assert meanwhile[0] < usual
    assert sys.getswitchinterval() == usual


def refuse(manifest: Manifest) -> Answers:
    raise BundleError("the service cannot answer with this")


def test_a_bundle_that_the_service_cannot_answer_with_is_kept_out(tmp_path: Path) -> None:
    strict = ModelManager(tmp_path, "churn", max_rows=10, answers=refuse, on_available=lambda: pytest.fail("announced"))
    release_bundle(tmp_path, "1")
    strict.look()
    with pytest.raises(Refusal):
        strict.served()


def test_a_repaired_release_is_tried_again_after_a_while(watched: Watched) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    place = watched.name_damaged("2")
    watched.manager.look()
    shutil.rmtree(place)
    release_bundle(watched.bundles, "2", weight=0.5)
    watched.manager.look()
    assert watched.version() == "1"
    watched.seconds += FIRST_RETRY_SECONDS
    watched.manager.look()
    assert watched.version() == "2"
    assert (watched.swaps("refused"), watched.swaps("served")) == (1, 2)


def test_a_release_that_stays_bad_is_tried_ever_later_and_told_of_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    place = watched.name_damaged("1")
    tried = []
    for second in range(200):
        watched.seconds = float(second)
        before = watched.swaps("refused")
        watched.manager.look()
        if watched.swaps("refused") > before:
            tried.append(second)
    assert tried == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert max(np.diff(tried)) == LONGEST_RETRY_SECONDS
    assert len(caplog.records) == 1

    # Another reason is news.
    (place / "golden.json").unlink()
    watched.seconds += LONGEST_RETRY_SECONDS
    watched.manager.look()
    assert len(caplog.records) == 2


def test_a_bundle_that_a_network_volume_shows_later_than_its_release_is_served_then(watched: Watched) -> None:
    release = release_bundle(watched.bundles, "1")
    place = watched.bundles / "churn" / release.digest
    place.rename(watched.bundles / "unseen")
    watched.manager.look()
    assert watched.announced == []
    (watched.bundles / "unseen").rename(place)
    watched.seconds += FIRST_RETRY_SECONDS
    watched.manager.look()
    assert watched.announced == ["1"]


@pytest.mark.parametrize("at", [0, 1, 2**33])
def test_what_the_clock_says_of_a_release_decides_nothing(watched: Watched, at: int) -> None:
    for version, weight in (("1", 0.01), ("2", 0.02)):
        release_bundle(watched.bundles, version, weight)
        # The same time for both, or one that is yet to come.
        os.utime(watched.release_file, (at, at))
        watched.manager.look()
        assert watched.version() == version


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
        watched.release_file.write_text(text)
        watched.manager.look()
        served = watched.manager.served().version
        assert (served.version, served.alias, served.bundle_digest) == (version, alias, release.digest)
        assert infos() == {(version, alias): 1.0}


@pytest.mark.parametrize("at", ["", "churn", "churn/release.json"])
def test_a_folder_that_vanishes_leaves_the_served_version_and_its_return_is_told(
    watched: Watched, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    served = watched.manager.served()
    caplog.set_level(logging.INFO)
    caplog.clear()
    (watched.bundles / at).rename(watched.bundles.with_name("away"))
    for _ in range(3):
        watched.manager.look()
    assert watched.swaps("refused") == 1
    watched.bundles.with_name("away").rename(watched.bundles / at)
    watched.manager.look()
    assert watched.manager.served() is served
    gone, back = (json.loads(JsonFormatter().format(record)) for record in caplog.records)
    assert gone["reason"] == f"{watched.bundles / 'churn'}: its release is gone; sync churn again"
    assert back["event"] == "the served release is back"


def test_a_started_manager_follows_by_itself_and_stops(watched: Watched) -> None:
    release_bundle(watched.bundles, "1")
    assert not watched.manager.has_looked
    watched.manager.start(poll_seconds=0.01)
    eventually(lambda: watched.manager.has_looked, "the first look")
    assert watched.version() == "1"
    release_bundle(watched.bundles, "2", weight=0.02)
    eventually(lambda: watched.version() == "2", "the second release")
    watched.manager.stop()
    served = watched.manager.served()
    release_bundle(watched.bundles, "3", weight=0.03)
    assert watched.manager.served() is served


def test_outcomes_are_on_the_page_before_the_first_swap(tmp_path: Path) -> None:
    ModelManager(tmp_path, "unswapped", max_rows=10, answers=Answers, on_available=lambda: None)
    for outcome in ("served", "refused"):
        labels = {"model": "unswapped", "outcome": outcome}
        assert REGISTRY.get_sample_value("regulars_swaps_total", labels) == 0.0


def test_when_the_served_bundle_was_trained_is_on_the_page(watched: Watched) -> None:
    for version, trained_at, time in (("1", "2018-01-01T00:00:00Z", 1514764800.0), ("2", "no time", float("nan"))):
        release_bundle(watched.bundles, version, trained_at=trained_at)
        watched.manager.look()
        assert watched.version() == version
        trained = REGISTRY.get_sample_value("regulars_model_trained_at_seconds", {"model": "churn"})
        assert trained == pytest.approx(time, nan_ok=True)


def test_the_end_does_not_wait_for_a_loading_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "STOP_SECONDS", 0.01)
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(manifest: Manifest) -> Answers:
        hangs.set()
        goes_on.wait(PATIENCE_SECONDS)
        return Answers(manifest)

    hanging = ModelManager(tmp_path, "churn", max_rows=10, answers=hang, on_available=lambda: None)
    release_bundle(tmp_path, "1")
    hanging.start(poll_seconds=0.01)
    assert hangs.wait(PATIENCE_SECONDS)
    assert not hanging.stop()
    assert not hanging.has_looked
    goes_on.set()
    eventually(hanging.stop, "the end of the loading")


def test_when_the_served_bundle_came_is_on_the_page(watched: Watched) -> None:
    release_bundle(watched.bundles, "1")
    watched.manager.look()
    since = REGISTRY.get_sample_value("regulars_model_served_since_seconds", {"model": "churn"})
    assert since is not None
    assert np.isfinite(since)
    assert since > 1.6e9
