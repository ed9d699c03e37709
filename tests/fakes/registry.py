"""A tracker and a registry over a folder: runs are folders of artifacts, versions are lines in memory."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_registry.evidence import EVIDENCE_FILE, Evidence
from model_registry.registry import RegisteredVersion, RegistryError

if TYPE_CHECKING:
    from pathlib import Path

    from training.core.tracking import RunRecord


@dataclass
class FolderTracker:
    """Implements `training.core.tracking.Tracker`."""

    root: Path
    records: dict[str, RunRecord] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def start(self, name: str) -> str:
        run_id = f"run-{len(list(self.root.glob('run-*')))}"
        (self.root / run_id).mkdir(parents=True)
        return run_id

    def finish(self, run_id: str, record: RunRecord) -> None:
        shutil.copytree(record.folder, self.root / run_id, dirs_exist_ok=True)
        self.records[run_id] = record

    def abandon(self, run_id: str, reason: str) -> None:
        self.failures[run_id] = reason


class FolderRegistry:
    """Implements `model_registry.registry.Registry` over the runs of a `FolderTracker`."""

    def __init__(self, tracker: FolderTracker) -> None:
        self._tracker = tracker
        self._versions: dict[tuple[str, str], RegisteredVersion] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self.notes: dict[tuple[str, str], dict[str, str]] = {}

    def register(self, name: str, run_id: str, digest: str) -> RegisteredVersion:
        record = self._tracker.records.get(run_id)
        if record is None:
            raise RegistryError(f"run {run_id} logged no model; train {name} again")
        number = str(1 + sum(model == name for model, _ in self._versions))
        version = RegisteredVersion(name, number, run_id, digest, datetime.now(UTC), metrics=dict(record.metrics))
        self._versions[name, number] = version
        return version

    def get(self, name: str, version: str) -> RegisteredVersion:
        found = self._found(name, version)
        aliases = sorted(alias for (model, alias), at in self._aliases.items() if (model, at) == (name, version))
        return replace(found, aliases=tuple(aliases))

    def resolve(self, name: str, alias: str) -> RegisteredVersion | None:
        version = self._aliases.get((name, alias))
        return None if version is None else self.get(name, version)

    def versions(self, name: str) -> list[RegisteredVersion]:
        return [self.get(name, version) for model, version in reversed(self._versions) if model == name]

    def point(self, name: str, alias: str, version: str) -> None:
        self._found(name, version)
        self._aliases[name, alias] = version

    def remove_alias(self, name: str, alias: str) -> None:
        self._aliases.pop((name, alias), None)

    def record(self, name: str, version: str, notes: dict[str, str]) -> None:
        self._found(name, version)
        self.notes.setdefault((name, version), {}).update(notes)

    def evidence(self, version: RegisteredVersion) -> Evidence:
        return Evidence.from_json(json.loads((self._tracker.root / version.run_id / EVIDENCE_FILE).read_text()))

    def download_bundle(self, version: RegisteredVersion, into: Path) -> Path:
        return shutil.copytree(self._tracker.root / version.run_id / "bundle", into / "bundle")

    def _found(self, name: str, version: str) -> RegisteredVersion:
        if (name, version) not in self._versions:
            raise RegistryError(f"{name} has no version {version}; see 'regulars models'")
        return self._versions[name, version]
