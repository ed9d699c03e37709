"""Follows an alias: resolves it, downloads its bundle, verifies it, releases it to a local folder, atomically."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from model_registry.bundle import BundleError
from model_registry.registry import RegistryError
from model_registry.release import Release, publish, read_release

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_registry.registry import Registry

POLL_SECONDS = 5.0
JITTER = 0.2
"""Share by which each wait varies, so that many followers do not ask at once."""

_log = logging.getLogger(__name__)


def sync_once(registry: Registry, name: str, alias: str, bundles: Path) -> Release | None:
    """Brings the folder up to the alias. Returns the new release, or None if it was up to date.

    Raises:
        RegistryError: the registry fails, or nothing carries the alias.
        BundleError: what was downloaded is not the bundle that was registered.
        OSError: the folder cannot be written.
    """
    version = registry.resolve(name, alias)
    if version is None:
        raise RegistryError(
            f"no version of {name} carries the alias {alias}; run 'regulars promote {name}' or name another alias"
        )
    release = Release(version.version, alias, version.digest)
    if _current(bundles, name) == release:
        return None
    folder = bundles / name
    folder.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=".sync-", dir=folder))
    try:
        publish(bundles, name, registry.download_bundle(version, workspace), release)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    return release


def follow(
    registry: Registry,
    name: str,
    alias: str,
    bundles: Path,
    wait: Callable[[float], bool],
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Syncs until `wait(seconds)` returns True; a failure is logged, leaves the last release and is tried again."""
    while True:
        try:
            release = sync_once(registry, name, alias, bundles)
        except (RegistryError, BundleError, OSError) as error:
            _log.warning("sync of %s@%s failed, the last release stays: %s", name, alias, error)
        else:
            if release is not None:
                _log.info("released %s version %s (%s)", name, release.version, release.digest[:12])
        if wait(poll_seconds * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311 - jitter, no secret
            return


def _current(bundles: Path, name: str) -> Release | None:
    try:
        return read_release(bundles, name)
    except BundleError:
        return None
