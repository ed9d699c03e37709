"""The registry port: what the suite needs of a model registry. MLflow stands behind it in `mlflow_registry`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from model_registry.bundle import BundleError, read_bundle

if TYPE_CHECKING:
    from datetime import datetime

    from model_registry.bundle import Bundle
    from model_registry.evidence import Evidence

CANDIDATE = "candidate"
CHAMPION = "champion"
PREVIOUS = "previous"


class RegistryError(Exception):
    """The registry cannot be reached or does not hold what was asked for. Says what to do next."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a model in the registry.

    `digest` is that of its bundle; `metrics` and `grade` are what its training found. `notes` are what has been
    recorded on it since.
    """

    name: str
    version: str
    run_id: str
    digest: str
    created_at: datetime
    aliases: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    grade: str = ""
    notes: dict[str, str] = field(default_factory=dict)


class Registry(Protocol):
    """Versions, aliases, bundles and evidence. Every method raises RegistryError."""

    def register(self, name: str, run_id: str, digest: str) -> RegisteredVersion:
        """Makes the run's logged model and bundle a new version of `name`."""

    def get(self, name: str, version: str) -> RegisteredVersion: ...

    def resolve(self, name: str, alias: str) -> RegisteredVersion | None:
        """The version that carries `alias`, or None."""

    def versions(self, name: str) -> list[RegisteredVersion]:
        """All versions, newest first, with their aliases."""

    def point(self, name: str, alias: str, version: str) -> None:
        """Moves `alias` to `version`."""

    def remove_alias(self, name: str, alias: str) -> None: ...

    def record(self, name: str, version: str, notes: dict[str, str]) -> None:
        """Writes notes (who, when, why) on a version."""

    def attach(self, version: RegisteredVersion, folder: Path, name: str) -> None:
        """Keeps the files of `folder` with what the version's training left behind, under `name`, such as "audits".

        Files of the same names are replaced.
        """

    def evidence(self, version: RegisteredVersion) -> Evidence: ...

    def bundle_bytes(self, version: RegisteredVersion) -> int:
        """How large the bundle is; 0 where the registry cannot tell."""

    def download_bundle(self, version: RegisteredVersion, into: Path) -> Path:
        """Downloads the bundle as a folder inside `into` and returns that folder; does not verify it.

        Raises OSError too: the disk is full.
        """


def named_version(registry: Registry, name: str, reference: str) -> RegisteredVersion | None:
    """The version with that number, or the one that carries that alias; None where nothing carries it.

    Raises:
        RegistryError: the registry fails, or has no version of that number.
    """
    return registry.get(name, reference) if reference.isdecimal() else registry.resolve(name, reference)


def registered_bundle(registry: Registry, version: RegisteredVersion) -> Bundle:
    """The bundle of a version, downloaded and verified.

    Raises:
        RegistryError: the registry fails.
        BundleError: what it holds is damaged, or is not the bundle that was registered.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = read_bundle(registry.download_bundle(version, Path(folder)))
    if bundle.digest != version.digest:
        raise BundleError(
            f"what was downloaded for {version.name} version {version.version} is not the bundle that was registered; "
            f"train {version.name} again"
        )
    return bundle
