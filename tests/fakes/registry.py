"""A tracker and a registry without MLflow: runs are folders of artifacts, versions and aliases stand in memory."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from model_registry.evidence import EVIDENCE_FILE, Evidence
from model_registry.registry import RegisteredVersion, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable
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


@dataclass(frozen=True)
class _Run:
    """What a training left behind for its version."""

    evidence: Evidence | None
    bundle: Path | None
    metrics: dict[str, float]
    grade: str


class FakeRegistry:
    """Implements `model_registry.registry.Registry`: versions and aliases in memory, bundles in folders.

    Versions come from the runs of a `FolderTracker`, or by `add`. `moves`, `notes`, `attached` (contents by run
    and path) and `downloads` tell what was done;
    `is_down` and the hooks let others act, or the registry fail, in the middle of it.
    """

    def __init__(self, tracker: FolderTracker | None = None) -> None:
        self._tracker = tracker
        self._versions: dict[tuple[str, str], RegisteredVersion] = {}
        self._runs: dict[str, _Run] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self.moves: list[tuple[str, str]] = []
        self.notes: dict[tuple[str, str], dict[str, str]] = {}
        self.attached: dict[str, dict[str, bytes]] = {}
        self.downloads = 0
        self.is_down = False
        self.on_point: Callable[[str], None] = lambda alias: None
        self.on_record: Callable[[], None] = lambda: None
        self.on_evidence: Callable[[], None] = lambda: None
        self.on_download: Callable[[Path], None] = lambda into: None

    def add(self, version: str, digest: str, evidence: Evidence | None = None, bundle: Path | None = None) -> None:
        """A version of churn, with what training left behind, or another in its place."""
        self._keep("churn", version, f"run-{version}", digest, _Run(evidence, bundle, {}, ""))

    def place(self, alias: str, version: str) -> None:
        """Moves an alias of churn as somebody else would."""
        self._aliases["churn", alias] = version

    def alias(self, alias: str) -> str | None:
        """The version of churn that carries the alias."""
        return self._aliases.get(("churn", alias))

    def register(self, name: str, run_id: str, digest: str) -> RegisteredVersion:
        self._answer()
        record = self._tracker and self._tracker.records.get(run_id)
        if not self._tracker or not record:
            raise RegistryError(f"run {run_id} logged no model; train {name} again")
        folder = self._tracker.root / run_id
        evidence = Evidence.from_json(json.loads((folder / EVIDENCE_FILE).read_text()))
        number = str(1 + sum(model == name for model, _ in self._versions))
        run = _Run(evidence, folder / "bundle", dict(record.metrics), record.grade)
        return self._keep(name, number, run_id, digest, run)

    def get(self, name: str, version: str) -> RegisteredVersion:
        self._answer()
        found = self._found(name, version)
        aliases = sorted(alias for (model, alias), at in self._aliases.items() if (model, at) == (name, version))
        return replace(found, aliases=tuple(aliases), notes=dict(self.notes.get((name, version), {})))

    def resolve(self, name: str, alias: str) -> RegisteredVersion | None:
        self._answer()
        version = self._aliases.get((name, alias))
        return None if version is None else self.get(name, version)

    def versions(self, name: str) -> list[RegisteredVersion]:
        self._answer()
        return [self.get(name, version) for model, version in reversed(self._versions) if model == name]

    def point(self, name: str, alias: str, version: str) -> None:
        self._answer()
        self._found(name, version)
        self._aliases[name, alias] = version
        self.moves.append((alias, version))
        self.on_point(alias)

    def remove_alias(self, name: str, alias: str) -> None:
        self._answer()
        self._aliases.pop((name, alias), None)

    def record(self, name: str, version: str, notes: dict[str, str]) -> None:
        self.on_record()
        self._answer()
        self._found(name, version)
        self.notes.setdefault((name, version), {}).update(notes)

    def attach(self, version: RegisteredVersion, folder: Path, name: str) -> None:
        self._answer()
        if version.run_id not in self._runs:
            raise RegistryError(f"there is no run {version.run_id}; see 'regulars models'")
        files = {f"{name}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        self.attached.setdefault(version.run_id, {}).update(files)

    def evidence(self, version: RegisteredVersion) -> Evidence:
        self._answer()
        self.on_evidence()
        evidence = self._runs[version.run_id].evidence
        if evidence is None:
            raise RegistryError(f"version {version.version} of {version.name} has no evidence")
        return evidence

    def bundle_bytes(self, version: RegisteredVersion) -> int:
        self._answer()
        bundle = self._runs[version.run_id].bundle
        return sum(path.stat().st_size for path in bundle.iterdir()) if bundle else 0

    def download_bundle(self, version: RegisteredVersion, into: Path) -> Path:
        self._answer()
        self.downloads += 1
        self.on_download(into)
        bundle = self._runs[version.run_id].bundle
        if bundle is None:
            raise RegistryError(f"version {version.version} of {version.name} has no bundle")
        return shutil.copytree(bundle, into / "bundle")

    def _keep(self, name: str, version: str, run_id: str, digest: str, run: _Run) -> RegisteredVersion:
        self._runs[run_id] = run
        self._versions[name, version] = RegisteredVersion(
            name, version, run_id, digest, datetime.now(UTC), metrics=run.metrics, grade=run.grade
        )
        return self._versions[name, version]

    def _found(self, name: str, version: str) -> RegisteredVersion:
        if (name, version) not in self._versions:
            raise RegistryError(f"{name} has no version {version}; see 'regulars models'")
        return self._versions[name, version]

    def _answer(self) -> None:
        if self.is_down:
            raise RegistryError("the registry does not answer")
