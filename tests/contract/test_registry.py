"""What every registry does, whatever stands behind it: the fake of the unit tests, and MLflow on a database file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model_registry.bundle import read_bundle
from model_registry.evidence import EVIDENCE_FILE, Comparison, Evidence, Interval, Parity
from model_registry.mlflow_registry import MlflowRegistry, open_client
from model_registry.registry import RegisteredVersion, Registry, RegistryError, named_version
from tests.fakes.registry import FakeRegistry, FolderTracker
from tests.support.bundles import GOLDEN_ROWS, SCHEMA, columns, make_bundle
from training.core.tracking import MlflowTracker, RunRecord, Tracker

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT = "99"


@dataclass
class Place:
    """A registry, and how versions get into it."""

    registry: Registry
    tracker: Tracker
    folder: Path
    read: Callable[[RegisteredVersion, str], bytes]
    """What is attached to a version under a path."""

    trained: int = 0

    def train(self, name: str = "churn") -> RegisteredVersion:
        """A run with a bundle of its own, registered."""
        self.trained += 1
        folder = self.folder / f"artifacts-{self.trained}"
        bundle = make_bundle(folder / "bundle", weight=0.01 * self.trained)
        (folder / EVIDENCE_FILE).write_text(json.dumps(evidence(bundle.digest).to_json()))
        run_id = self.tracker.start(name)
        self.tracker.finish(
            run_id,
            RunRecord(
                parameters={"trees": 10},
                metrics={"auc": 0.8 + self.trained / 100},
                grade="good",
                dataset_digest="d" * 64,
                folder=folder,
                model=bundle.model,
                schema=SCHEMA,
                example=columns(*GOLDEN_ROWS),
            ),
        )
        return self.registry.register(name, run_id, bundle.digest)


def evidence(digest: str) -> Evidence:
    return Evidence(
        parity=Parity({"holdout": 1e-7}, 10, 1e-5),
        metrics={"auc": Interval(0.86, 0.84, 0.88)},
        baselines=(Comparison("recency", "auc", Interval(0.06, 0.04, 0.08), margin=0.01),),
        champion=None,
        champion_version="",
        bundle_digest=digest,
    )


def open_fake(folder: Path) -> Place:
    tracker = FolderTracker(folder / "runs")
    registry = FakeRegistry(tracker)
    return Place(registry, tracker, folder, lambda version, path: registry.attached[version.run_id][path])


def open_mlflow(folder: Path) -> Place:
    uri = f"sqlite:///{folder}/deep/down/mlflow.db"

    def read(version: RegisteredVersion, path: str) -> bytes:
        return Path(open_client(uri).download_artifacts(version.run_id, path)).read_bytes()

    return Place(MlflowRegistry(uri), MlflowTracker(uri), folder, read)


@pytest.fixture(scope="module", params=[open_fake, open_mlflow], ids=["fake", "mlflow"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One registry for all tests, because MLflow takes seconds to make one; each test trains versions of its own."""
    opened: Place = request.param(tmp_path_factory.mktemp("registry"))
    return opened


class TestRegistry:
    def test_a_registered_version_is_found_again(self, place: Place) -> None:
        registered = place.train()
        found = place.registry.get("churn", registered.version)
        assert (found.name, found.version, found.run_id) == ("churn", registered.version, registered.run_id)
        assert found.digest == registered.digest
        assert found.metrics["auc"] == pytest.approx(0.8 + place.trained / 100)
        assert found.grade == "good"
        assert found.aliases == ()
        assert found.created_at.tzinfo is not None

    def test_versions_come_newest_first_with_their_aliases(self, place: Place) -> None:
        older, newer = place.train("listed"), place.train("listed")
        place.registry.point("listed", "champion", older.version)
        place.registry.point("listed", "candidate", older.version)
        listed = place.registry.versions("listed")
        assert [version.version for version in listed] == [newer.version, older.version]
        assert [version.aliases for version in listed] == [(), ("candidate", "champion")]
        assert listed[1].digest == older.digest

    def test_an_unknown_model_has_no_versions(self, place: Place) -> None:
        assert place.registry.versions("nobody") == []

    def test_nothing_carries_an_alias_that_was_never_set(self, place: Place) -> None:
        place.train()
        assert place.registry.resolve("churn", "never") is None
        assert place.registry.resolve("nobody", "champion") is None

    def test_an_alias_moves(self, place: Place) -> None:
        first, second = place.train("moved"), place.train("moved")
        for version in (first, second):
            place.registry.point("moved", "champion", version.version)
            resolved = place.registry.resolve("moved", "champion")
            assert resolved is not None
            assert (resolved.version, resolved.aliases) == (version.version, ("champion",))
        assert place.registry.get("moved", first.version).aliases == ()

    def test_a_version_is_named_by_its_alias_or_its_number(self, place: Place) -> None:
        version = place.train("named")
        place.registry.point("named", "champion", version.version)
        by_alias, by_number = (named_version(place.registry, "named", one) for one in ("champion", version.version))
        assert by_alias == by_number
        assert by_alias is not None
        assert by_alias.digest == version.digest
        assert named_version(place.registry, "named", "candidate") is None
        with pytest.raises(RegistryError, match="regulars models"):
            named_version(place.registry, "named", ABSENT)

    def test_an_alias_is_removed_and_may_be_removed_twice(self, place: Place) -> None:
        version = place.train("removed")
        place.registry.point("removed", "candidate", version.version)
        place.registry.remove_alias("removed", "candidate")
        place.registry.remove_alias("removed", "candidate")
        assert place.registry.resolve("removed", "candidate") is None

    def test_an_alias_never_points_at_nothing(self, place: Place) -> None:
        place.train("empty")
        with pytest.raises(RegistryError, match="regulars models"):
            place.registry.point("empty", "champion", ABSENT)
        assert place.registry.resolve("empty", "champion") is None

    def test_an_unknown_version_is_an_error_that_says_what_to_do(self, place: Place) -> None:
        with pytest.raises(RegistryError, match="regulars models"):
            place.registry.get("churn", ABSENT)
        with pytest.raises(RegistryError):
            place.registry.record("churn", ABSENT, {"who": "me"})

    def test_a_run_without_a_model_is_not_registered(self, place: Place) -> None:
        unfinished = place.tracker.start("churn")
        with pytest.raises(RegistryError, match="train churn again"):
            place.registry.register("churn", unfinished, "digest")

    def test_evidence_comes_back_as_it_was_written(self, place: Place) -> None:
        version = place.train()
        assert place.registry.evidence(version) == evidence(version.digest)

    def test_a_bundle_comes_back_as_it_was_written(self, place: Place, tmp_path: Path) -> None:
        version = place.train()
        folder = place.registry.download_bundle(version, tmp_path)
        assert folder.parent == tmp_path
        assert read_bundle(folder).digest == version.digest

    def test_a_bundle_is_as_large_as_its_files(self, place: Place, tmp_path: Path) -> None:
        version = place.train()
        folder = place.registry.download_bundle(version, tmp_path)
        assert place.registry.bundle_bytes(version) == sum(file.stat().st_size for file in folder.iterdir())

    def test_notes_come_back_and_the_later_one_stands(self, place: Place) -> None:
        version = place.train("noted")
        assert version.notes == {}
        place.registry.record("noted", version.version, {"who": "Ada", "why": "audit"})
        place.registry.record("noted", version.version, {"who": "Grace"})
        place.registry.point("noted", "candidate", version.version)
        resolved = place.registry.resolve("noted", "candidate")
        assert resolved is not None
        assert resolved.notes == {"who": "Grace", "why": "audit"}
        assert place.registry.get("noted", version.version).notes == resolved.notes

    def test_files_are_attached_beside_what_training_left_and_may_be_replaced(
        self, place: Place, tmp_path: Path
    ) -> None:
        version = place.train()
        for text in ("first", "second"):
            (tmp_path / "report.html").write_text(text)
            place.registry.attach(version, tmp_path, "audits/fairness")
        assert place.read(version, "audits/fairness/report.html") == b"second"
        assert place.registry.evidence(version) == evidence(version.digest)

    def test_nothing_is_attached_to_a_version_without_a_run(self, place: Place, tmp_path: Path) -> None:
        lost = replace(place.train(), run_id="gone")
        (tmp_path / "report.html").write_text("text")
        with pytest.raises(RegistryError):
            place.registry.attach(lost, tmp_path, "audits")
