"""The registry port over MLflow: a tracking server, or a database file on this machine.

The only module here that imports mlflow, and it does so when a client is opened: the import takes seconds.
A version's bundle and evidence are artifacts of the run that made it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import socket
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from model_registry.evidence import EVIDENCE_FILE, Evidence
from model_registry.registry import RegisteredVersion, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

BUNDLE_ARTIFACT = "bundle"
"""Where a run keeps its bundle."""

DIGEST_TAG = "regulars.bundle_digest"
"""Of a version."""

GRADE_TAG = "regulars.grade"
"""Of a run."""

SQLITE = "sqlite:///"

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow waits 120 s and retries seven times; whoever waits for a command, or follows an alias, may not.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""Environment of mlflow, where the user has not set it."""

_CHATTY = {
    "mlflow": logging.ERROR,
    "alembic": logging.WARNING,
    # A line for each try, at every look of a follower; what came of them is told by the error.
    "urllib3.connectionpool": logging.ERROR,
}

_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
_ABSENT_ALIAS = _ABSENT | {"INVALID_PARAMETER_VALUE"}
"""MLflow answers INVALID_PARAMETER_VALUE for an alias that a model does not have."""

_ALREADY_THERE = "RESOURCE_ALREADY_EXISTS"

_UNREACHABLE = (ConnectionError, socket.gaierror)
"""What clients of the network wrap several times over, each time with more words."""

_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]*@")


class MlflowRegistry:
    """Implements `Registry`."""

    def __init__(self, tracking_uri: str, *, must_exist: bool = False) -> None:
        """Opens the registry; a database file is made where there is none, unless it `must_exist`.

        Raises:
            RegistryError: the URI is none that MLflow keeps models in, its folder cannot be made, or the file that
                must exist does not.
        """
        if must_exist:
            _require_database(tracking_uri)
        self._uri = tracking_uri
        self._client = open_client(tracking_uri)

    def register(self, name: str, run_id: str, digest: str) -> RegisteredVersion:
        """Makes the run's logged model and bundle a new version of `name`."""
        with explained(f"register {name}", self._uri):
            logged = self._client.get_run(run_id).outputs
            if logged is None or not logged.model_outputs:
                raise RegistryError(
                    f"run {run_id} logged no model, so there is nothing to register; train {name} again"
                )
            self._ensure_model(name)
            model_id = logged.model_outputs[-1].model_id
            version = self._client.create_model_version(
                name, f"models:/{model_id}", run_id=run_id, tags={DIGEST_TAG: digest}, model_id=model_id
            )
            return self._registered(version, {})

    def get(self, name: str, version: str) -> RegisteredVersion:
        with explained(f"find version {version} of {name}", self._uri):
            found = self._client.get_model_version(name, version)
            return self._registered(found, self._aliases(name))

    def resolve(self, name: str, alias: str) -> RegisteredVersion | None:
        """The version that carries `alias`, or None."""
        with explained(f"resolve {name}@{alias}", self._uri):
            try:
                version = self._client.get_model_version_by_alias(name, alias)
            except Exception as error:
                if _code(error) in _ABSENT_ALIAS:
                    return None
                raise
            return self._registered(version, self._aliases(name))

    def versions(self, name: str) -> list[RegisteredVersion]:
        """All versions, newest first, with their aliases."""
        with explained(f"list the versions of {name}", self._uri):
            found = [version for version in self._search(name) if DIGEST_TAG in version.tags]
            # A search tells no aliases.
            aliases = self._aliases(name) if found else {}
            newest_first = sorted(found, key=lambda version: -int(version.version))
            return [self._registered(version, aliases, run_may_be_gone=True) for version in newest_first]

    def point(self, name: str, alias: str, version: str) -> None:
        """Moves `alias` to `version`."""
        with explained(f"point {name}@{alias} to version {version}", self._uri):
            self._client.set_registered_model_alias(name, alias, version)

    def remove_alias(self, name: str, alias: str) -> None:
        with explained(f"remove the alias {alias} of {name}", self._uri):
            self._client.delete_registered_model_alias(name, alias)

    def record(self, name: str, version: str, notes: dict[str, str]) -> None:
        """Writes notes (who, when, why) on a version."""
        with explained(f"write on version {version} of {name}", self._uri):
            for key, value in notes.items():
                self._client.set_model_version_tag(name, version, key, value)

    def attach(self, version: RegisteredVersion, folder: Path, name: str) -> None:
        """Keeps the files of `folder` with what the version's training left behind, under `name`."""
        with explained(f"attach {name} to {version.name} version {version.version}", self._uri):
            self._client.log_artifacts(version.run_id, str(folder), name)

    def evidence(self, version: RegisteredVersion) -> Evidence:
        what = f"the evidence of {version.name} version {version.version}"
        with explained(f"read {what}", self._uri), tempfile.TemporaryDirectory() as folder:
            text = self._fetch(version, EVIDENCE_FILE, Path(folder)).read_text()
        try:
            return Evidence.from_json(json.loads(text))
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"{what} is not of the form this version reads; train {version.name} again") from error

    def bundle_bytes(self, version: RegisteredVersion) -> int:
        with explained(f"list the bundle of {version.name} version {version.version}", self._uri):
            files = self._client.list_artifacts(version.run_id, BUNDLE_ARTIFACT)
            return sum(file.file_size or 0 for file in files)

    def download_bundle(self, version: RegisteredVersion, into: Path) -> Path:
        """Downloads the bundle as a folder inside `into` and returns that folder; does not verify it."""
        try:
            with explained(f"download the bundle of {version.name} version {version.version}", self._uri):
                return self._fetch(version, BUNDLE_ARTIFACT, into)
        except RegistryError as error:
            _raise_if_of_the_disk(error)
            raise

    def _fetch(self, version: RegisteredVersion, path: str, into: Path) -> Path:
        """From the run's own place: asked for by the run's name, MLflow keeps to itself why a download failed."""
        from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - see open_client

        place = self._client.get_run(version.run_id).info.artifact_uri
        return Path(download_artifacts(artifact_uri=f"{place}/{path}", dst_path=str(into), tracking_uri=self._uri))

    def _search(self, name: str) -> Iterator[ModelVersion]:
        token: str | None = None
        while token != "":
            page = self._client.search_model_versions(f"name = '{name}'", page_token=token)
            yield from page
            token = page.token or ""

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except Exception as error:
            if _code(error) != _ALREADY_THERE:
                raise

    def _aliases(self, name: str) -> dict[str, tuple[str, ...]]:
        """Aliases by version."""
        by_version: dict[str, tuple[str, ...]] = {}
        for alias, version in sorted(self._client.get_registered_model(name).aliases.items()):
            by_version[str(version)] = (*by_version.get(str(version), ()), alias)
        return by_version

    def _registered(
        self, version: ModelVersion, aliases: dict[str, tuple[str, ...]], *, run_may_be_gone: bool = False
    ) -> RegisteredVersion:
        """What is registered; without figures where its run has been deleted for good, and may be."""
        number = str(version.version)
        if DIGEST_TAG not in version.tags or not version.run_id:
            raise RegistryError(
                f"version {number} of {version.name} was not registered by regulars: it names no bundle; "
                f"run 'regulars train {version.name}', or choose another tracking URI"
            )
        try:
            run = self._client.get_run(version.run_id).data
        except Exception as error:
            if not run_may_be_gone or _code(error) not in _ABSENT:
                raise
            run = None
        return RegisteredVersion(
            name=version.name,
            version=number,
            run_id=version.run_id,
            digest=version.tags[DIGEST_TAG],
            created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
            aliases=aliases.get(number, ()),
            metrics=dict(run.metrics) if run else {},
            grade=run.tags.get(GRADE_TAG, "") if run else "",
            notes={key: value for key, value in version.tags.items() if key != DIGEST_TAG},
        )


def open_client(tracking_uri: str) -> MlflowClient:
    """A quiet client; a database file is made where there is none.

    Raises:
        RegistryError: the URI is none that MLflow keeps models in, or its folder cannot be made.
    """
    for variable, value in _DEFAULTS.items():
        os.environ.setdefault(variable, value)
    with explained("open the registry", tracking_uri):
        if tracking_uri.startswith(SQLITE):
            database_folder(tracking_uri).mkdir(parents=True, exist_ok=True)
        from mlflow import MlflowClient  # noqa: PLC0415 - takes seconds; only who opens a registry waits for it

        # Its import configures its loggers, so they are quietened after it.
        for name, level in _CHATTY.items():
            logging.getLogger(name).setLevel(level)
        return MlflowClient(tracking_uri, tracking_uri)


def database_folder(tracking_uri: str) -> Path:
    """The folder of a database file; artifacts lie beside it."""
    return _database_file(tracking_uri).parent


def _database_file(tracking_uri: str) -> Path:
    return Path(tracking_uri.removeprefix(SQLITE).partition("?")[0]).absolute()


def _require_database(tracking_uri: str) -> None:
    """MLflow makes an empty one in the place of a file that was moved, and then every model seems to be gone."""
    if tracking_uri.startswith(SQLITE) and not _database_file(tracking_uri).is_file():
        raise RegistryError(
            f"there is no registry at {_database_file(tracking_uri)}; if nothing was trained yet, run 'regulars train "
            "all', and if it was moved, let registry.tracking_uri name its new place"
        )


def without_password(text: str) -> str:
    """A text that may hold a tracking URI, fit to be shown."""
    return _PASSWORD.sub(r"\1:***@", text)


@contextmanager
def explained(what: str, tracking_uri: str) -> Iterator[None]:
    """Turns whatever fails inside into a RegistryError that says what was attempted, where, and what to do.

    MLflow lets errors of its transports, databases and stores through, so all of them are caught. A package that is
    not installed is none of them.
    """
    try:
        yield
    except (RegistryError, ModuleNotFoundError):
        raise
    except Exception as error:
        reason = _reason(error)
        remedy = (
            "see 'regulars models' for what is there"
            if _code(error) in _ABSENT
            else "check that it is reachable and that registry.tracking_uri names it"
        )
        text = f"cannot {what} in {tracking_uri}: {reason}; {remedy}"
        raise RegistryError(without_password(text)) from error


def _reason(error: Exception) -> str:
    """Why nobody could be reached; else the first line, which says it, or announces what the last one says."""
    unreachable = next((cause for cause in _causes(error) if isinstance(cause, _UNREACHABLE)), None)
    if unreachable is not None and unreachable.strerror:
        return unreachable.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") else lines[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it came of, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _raise_if_of_the_disk(error: RegistryError) -> None:
    """MLflow makes one text of all that failed in a download, so an error of the disk is told by its words alone."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in str(error):
            raise OSError(number, os.strerror(number)) from error


def _code(error: Exception) -> str:
    return str(getattr(error, "error_code", ""))
