"""Follows an alias: resolves it, downloads its bundle, verifies it, releases it to a local folder, atomically."""

from __future__ import annotations

import fcntl
import logging
import os
import random
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from model_registry.bundle import BundleError
from model_registry.registry import RegistryError
from model_registry.release import Release, bundle_folder, is_intact, publish, read_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_registry.registry import Registry

POLL_SECONDS = 5.0
JITTER = 0.2
"""Share by which each wait varies, so that many followers do not ask at once."""

WORKSPACE_PREFIX = ".sync-"

_log = logging.getLogger(__name__)


def sync_once(registry: Registry, name: str, alias: str, bundles: Path) -> Release | None:
    """Brings the folder up to the alias. Returns the new release, or None if it was up to date and undamaged.

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
    if _current(bundles, name) == release and is_intact(bundle_folder(bundles, name, release.digest), release.digest):
        return None
    folder = bundles / name
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    with _workspace(folder) as workspace:
        publish(bundles, name, registry.download_bundle(version, workspace), release)
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


@contextmanager
def _workspace(folder: Path) -> Iterator[Path]:
    """A folder for one download. It is locked as long as this process lives, which tells it from a leftover."""
    workspace = Path(tempfile.mkdtemp(prefix=WORKSPACE_PREFIX, dir=folder))
    try:
        with _lock(workspace):
            yield workspace
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Deletes the workspaces of syncs that were killed."""
    for leftover in folder.glob(f"{WORKSPACE_PREFIX}*"):
        with suppress(OSError), _lock(leftover):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Raises BlockingIOError where another process holds the lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _current(bundles: Path, name: str) -> Release | None:
    try:
        return read_release(bundles, name)
    except BundleError:
        return None
