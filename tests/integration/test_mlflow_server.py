"""A registry behind a server: what training, promotion and sync need of it, and what they do when it goes away."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model_registry.bundle import BundleError
from model_registry.gates import AuditRule, Override
from model_registry.mlflow_registry import MlflowRegistry, open_client
from model_registry.promotion import REPORT_NOTE, Demands, promote
from model_registry.registry import CANDIDATE, CHAMPION, RegistryError
from model_registry.release import read_release
from model_registry.sync import sync_once
from tests.contract.test_registry import Place
from tests.support.tracking import free_port, tracking_server, write_project
from training.core.tracking import MlflowTracker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_registry.promotion import Promotion
    from model_registry.registry import RegisteredVersion

NOBODY_ASKS = Demands(AuditRule.OPTIONAL)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def place_behind(uri: str, folder: Path) -> Place:
    def read(version: RegisteredVersion, path: str) -> bytes:
        return Path(open_client(uri).download_artifacts(version.run_id, path)).read_bytes()

    return Place(MlflowRegistry(uri), MlflowTracker(uri), folder, read)


def train_and_promote(place: Place) -> Promotion:
    """Nobody compared the second version with the first."""
    place.registry.point("churn", CANDIDATE, place.train().version)
    answer = Override("not worse than the champion", "Ada", "a test")
    return promote(place.registry, "churn", demands=NOBODY_ASKS, overrides=[answer])


def released(bundles: Path) -> str:
    release = read_release(bundles, "churn")
    assert release is not None
    return release.version


@contextmanager
def damaged(folder: Path, version: RegisteredVersion) -> Iterator[None]:
    """Half of the version's model, where the server keeps its files."""
    (model,) = (folder / ".regulars" / "artifacts").glob(f"**/{version.run_id}/**/bundle/model.onnx")
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    yield
    model.write_bytes(whole)


def check_everything(project: Path, *words: str) -> None:
    """Trains, promotes and syncs through the server, kills it in between, and goes on with the next one."""
    folder, port = project.parent, free_port()
    bundles = folder / "bundles"
    with tracking_server(project, port, *words) as server:
        place = place_behind(server.uri, folder)
        first = train_and_promote(place)
        assert first.moved
        champion = place.registry.resolve("churn", CHAMPION)
        assert champion is not None
        assert json.loads(place.read(champion, champion.notes[REPORT_NOTE]))["version"] == first.version.version
        # Through the server, so that clients need no access to where it keeps files.
        assert open_client(server.uri).get_run(champion.run_id).info.artifact_uri.startswith("mlflow-artifacts:/")
        assert sync_once(place.registry, "churn", CHAMPION, bundles) == read_release(bundles, "churn")
        second = train_and_promote(place)
        assert second.moved
        with damaged(folder, second.version), pytest.raises(BundleError, match=r"checksum mismatch in model\.onnx"):
            sync_once(place.registry, "churn", CHAMPION, bundles)
        assert released(bundles) == first.version.version
        assert server.kill() == 1
        assert server.left_behind() == []

    with pytest.raises(RegistryError, match=f"cannot resolve churn@champion in {server.uri}.*check that it is reach"):
        sync_once(place.registry, "churn", CHAMPION, bundles)
    assert released(bundles) == first.version.version

    with tracking_server(project, port, *words) as server:
        sync_once(place.registry, "churn", CHAMPION, bundles)
        assert released(bundles) == second.version.version
        assert server.terminate() == 0
        assert server.left_behind() == []


def test_a_registry_behind_a_server_on_the_projects_database(tmp_path: Path) -> None:
    check_everything(write_project(tmp_path))
    assert (tmp_path / ".regulars" / "mlflow.db").exists()
    assert (tmp_path / ".regulars" / "artifacts").is_dir()
