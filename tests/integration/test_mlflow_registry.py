"""What is MLflow's own: URIs, its users, foreign versions, silence."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pytest

from features.project import TRACKING_VARIABLE
from model_registry.mlflow_registry import DIGEST_TAG, MlflowRegistry, explained, open_client
from model_registry.registry import RegistryError
from tests.contract.test_registry import Place, open_mlflow
from tests.support.bundles import GOLDEN_ROWS, columns, probability
from training.core.tracking import MlflowTracker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return open_mlflow(tmp_path_factory.mktemp("mlflow"))


def uri(place: Place) -> str:
    return f"sqlite:///{place.folder}/deep/down/mlflow.db"


def test_artifacts_lie_beside_the_database(place: Place) -> None:
    version = place.train()
    run = open_client(uri(place)).get_run(version.run_id)
    assert run.info.artifact_uri.startswith(f"file://{place.folder}/deep/down/artifacts/churn/")


def test_mlflow_users_load_the_model_by_alias(place: Place) -> None:
    import mlflow  # noqa: PLC0415 - after the registry has quietened it

    version = place.train("loaded")
    place.registry.point("loaded", "champion", version.version)
    mlflow.set_tracking_uri(uri(place))
    model = mlflow.pyfunc.load_model("models:/loaded@champion")
    rows = columns(*GOLDEN_ROWS)
    scored = model.predict({"numeric": rows.numeric, "categorical": rows.categorical.astype(str)})
    expected = [probability(*row, weight=0.01 * place.trained) for row in GOLDEN_ROWS]
    assert np.allclose(scored["churn_probability"].ravel(), expected, atol=1e-6)


def test_notes_and_the_digest_are_tags_of_the_version(place: Place) -> None:
    version = place.train("noted")
    place.registry.record("noted", version.version, {"regulars.champion_by": "ada"})
    tags = open_client(uri(place)).get_model_version("noted", version.version).tags
    assert tags["regulars.champion_by"] == "ada"
    assert tags[DIGEST_TAG] == version.digest


def test_versions_of_others_are_left_out_and_refused_by_name(place: Place) -> None:
    ours = place.train("shared")
    client = open_client(uri(place))
    theirs = client.create_model_version("shared", "file:///somewhere/else")
    assert [version.version for version in place.registry.versions("shared")] == [ours.version]
    with pytest.raises(RegistryError, match="not registered by regulars"):
        place.registry.get("shared", str(theirs.version))


def test_a_version_whose_run_was_deleted_for_good_is_listed_and_not_to_be_had(place: Place) -> None:
    gone, there = place.train("cleaned"), place.train("cleaned")
    place.registry.point("cleaned", "champion", gone.version)
    # As 'mlflow gc' does.
    store = import_module("mlflow.store.tracking.sqlalchemy_store").SqlAlchemyStore(uri(place), str(place.folder))
    store.delete_run(gone.run_id)
    store._hard_delete_run(gone.run_id)
    listed = place.registry.versions("cleaned")
    assert [(one.version, bool(one.metrics)) for one in listed] == [(there.version, True), (gone.version, False)]
    assert listed[1].aliases == ("champion",)
    with pytest.raises(RegistryError, match=f"{gone.run_id} not found; see 'regulars models'"):
        place.registry.resolve("cleaned", "champion")


def test_a_failed_run_says_why(place: Place) -> None:
    run_id = place.tracker.start("churn")
    place.tracker.abandon(run_id, "TrainingError: too few")
    run = open_client(uri(place)).get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["regulars.failure"] == "TrainingError: too few"


def test_evidence_of_another_form_is_an_error_that_says_what_to_do(place: Place, tmp_path: Path) -> None:
    version = place.train("formless")
    (tmp_path / "evidence.json").write_text('{"parity": 1}')
    open_client(uri(place)).log_artifact(version.run_id, str(tmp_path / "evidence.json"))
    with pytest.raises(RegistryError, match="train formless again"):
        place.registry.evidence(version)


def test_a_server_that_is_down_is_an_error_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = MlflowRegistry("http://127.0.0.1:9")
    with pytest.raises(RegistryError, match=r"in http://127\.0\.0\.1:9: Connection refused; .*registry\.tracking_uri"):
        registry.resolve("churn", "champion")
    with pytest.raises(RegistryError):
        MlflowTracker("http://127.0.0.1:9").start("churn")


def test_a_try_that_is_repeated_leaves_no_line_in_the_log_of_a_follower(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with pytest.raises(RegistryError):
        MlflowRegistry("http://127.0.0.1:9").resolve("churn", "champion")
    assert caplog.messages == []


def test_a_server_that_hangs_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # The kernel accepts for it, and nobody ever answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RegistryError, match=r"timed out.*check that it is reachable"):
            MlflowRegistry(address).resolve("churn", "champion")


def test_a_place_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match=r"registry\.tracking_uri"):
        MlflowRegistry(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(RegistryError, match=r"registry\.tracking_uri"):
        MlflowRegistry("gopher://models")


def test_a_database_that_was_moved_is_missed_and_not_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "gone" / "mlflow.db"
    for options in ("", "?timeout=5"):
        with pytest.raises(RegistryError, match=f"no registry at {file}; if nothing was trained yet, run 'regulars"):
            MlflowRegistry(f"sqlite:///{file}{options}", must_exist=True)
    assert not file.parent.exists()


def test_a_registry_that_must_exist_and_does_is_opened(place: Place) -> None:
    place.train("there")
    assert len(MlflowRegistry(uri(place), must_exist=True).versions("there")) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_is_told_as_one_however_mlflow_says_it(
    number: int, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, remote_file_path: str, local_path: str) -> None:
        raise OSError(number, os.strerror(number))

    version = place.train("large")
    monkeypatch.setattr("mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository._download_file", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as failure:
        place.registry.download_bundle(version, tmp_path)
    assert failure.value.errno == number


def test_what_failed_is_told_where_mlflow_only_announces_it() -> None:
    announced = "The following failures occurred:\n##### File model.onnx #####\nno such bucket\n"
    with (
        pytest.raises(RegistryError, match="The following failures occurred: no such bucket; check"),
        explained("download", "here"),
    ):
        raise ValueError(announced)


def test_a_package_that_is_not_installed_is_no_matter_of_the_registry() -> None:
    with pytest.raises(ModuleNotFoundError, match="psycopg"):
        MlflowRegistry("postgresql+psycopg2://host/db").versions("churn")


def test_an_error_tells_the_user_of_the_registry_and_not_the_password() -> None:
    with pytest.raises(RegistryError, match=r"gopher://ann:\*\*\*@models") as failure:
        MlflowRegistry("gopher://ann:s3cret@models")
    assert "s3cret" not in str(failure.value)


def test_importing_and_opening_say_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, model_registry.mlflow_registry as m; assert 'mlflow' not in sys.modules; "
        f"m.MlflowRegistry('sqlite:///{tmp_path}/mlflow.db').versions('churn')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_training_leaves_the_environment_as_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.train("quiet")
    assert TRACKING_VARIABLE not in os.environ
    monkeypatch.setenv(TRACKING_VARIABLE, "http://elsewhere.example")
    place.train("quiet")
    assert os.environ[TRACKING_VARIABLE] == "http://elsewhere.example"
