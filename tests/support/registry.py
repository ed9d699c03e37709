"""A registry in memory, with bundles in folders."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_registry.registry import RegisteredVersion, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model_registry.evidence import Evidence


class FakeRegistry:
    """Implements `model_registry.registry.Registry`; `moves` and `notes` tell what was done to it."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], RegisteredVersion] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._evidence: dict[tuple[str, str], Evidence] = {}
        self._bundles: dict[tuple[str, str], Path] = {}
        self.moves: list[tuple[str, str]] = []
        self.notes: dict[str, dict[str, str]] = {}
        self.downloads = 0
        self.is_down = False
        self.on_point: Callable[[str], None] = lambda alias: None
        self.on_evidence: Callable[[], None] = lambda: None
        self.on_download: Callable[[Path], None] = lambda into: None

    def add(self, version: str, digest: str, evidence: Evidence | None = None, bundle: Path | None = None) -> None:
        """A version of churn, with what training left behind."""
        key = ("churn", version)
        self._versions[key] = RegisteredVersion("churn", version, f"run-{version}", digest, datetime.now(UTC))
        if evidence is not None:
            self._evidence[key] = evidence
        if bundle is not None:
            self._bundles[key] = bundle

    def place(self, alias: str, version: str) -> None:
        """Moves an alias as somebody else would."""
        self._aliases["churn", alias] = version

    def alias(self, alias: str) -> str | None:
        return self._aliases.get(("churn", alias))

    def register(self, name: str, run_id: str, digest: str) -> RegisteredVersion:
        self._answer()
        version = str(len(self._versions) + 1)
        self._versions[name, version] = RegisteredVersion(name, version, run_id, digest, datetime.now(UTC))
        return self._versions[name, version]

    def get(self, name: str, version: str) -> RegisteredVersion:
        self._answer()
        try:
            found = self._versions[name, version]
        except KeyError:
            raise RegistryError(f"{name} has no version {version}") from None
        aliases = tuple(alias for (model, alias), at in self._aliases.items() if (model, at) == (name, version))
        return replace(found, aliases=aliases)

    def resolve(self, name: str, alias: str) -> RegisteredVersion | None:
        self._answer()
        version = self._aliases.get((name, alias))
        return None if version is None else self.get(name, version)

    def versions(self, name: str) -> list[RegisteredVersion]:
        self._answer()
        return [self.get(name, version) for model, version in reversed(self._versions) if model == name]

    def point(self, name: str, alias: str, version: str) -> None:
        self._answer()
        self._aliases[name, alias] = version
        self.moves.append((alias, version))
        self.on_point(alias)

    def remove_alias(self, name: str, alias: str) -> None:
        self._answer()
        self._aliases.pop((name, alias), None)

    def record(self, name: str, version: str, notes: dict[str, str]) -> None:
        self._answer()
        self.notes.setdefault(version, {}).update(notes)

    def evidence(self, version: RegisteredVersion) -> Evidence:
        self._answer()
        self.on_evidence()
        return self._evidence[version.name, version.version]

    def download_bundle(self, version: RegisteredVersion, into: Path) -> Path:
        self._answer()
        self.downloads += 1
        self.on_download(into)
        return shutil.copytree(self._bundles[version.name, version.version], into / "bundle")

    def _answer(self) -> None:
        if self.is_down:
            raise RegistryError("the registry does not answer")
