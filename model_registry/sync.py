"""Follows an alias: resolves it, downloads its bundle, verifies it, releases it to a local folder, atomically."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import random
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from model_registry.bundle import BundleError
from model_registry.clearance import is_cleared
from model_registry.registry import RegistryError
from model_registry.release import SHOWN_DIGITS, Release, bundle_folder, is_intact, publish, read_release
from model_registry.sync_metrics import Following

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_registry.registry import RegisteredVersion, Registry

POLL_SECONDS = 5.0
JITTER = 0.2
"""Share by which each wait varies, so that many followers do not ask at once."""

WORKSPACE_PREFIX = ".sync-"

MEGABYTE = 2**20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_PASSING = re.compile(r"0x[0-9a-f]+|\d+\.\d+")
"""What differs between two tellings of one failure: addresses in memory, megabytes."""

_log = logging.getLogger(__name__)


class FolderError(OSError):
    """The folder of bundles cannot be written. Names it, and says what to do."""


def sync_once(
    registry: Registry, name: str, alias: str, bundles: Path, *, allow_unaudited: bool = False
) -> Release | None:
    """Brings the folder up to the alias. Returns the new release, or None if it was up to date and undamaged.

    Whoever may write to the registry can move an alias past every gate. A version that no promotion let through and
    that has passed no audit is not released (`clearance.is_cleared`); what is released already stays.

    Raises:
        RegistryError: the registry fails, nothing carries the alias, or what does may not be released.
        BundleError: what was downloaded is not the bundle that was registered.
        FolderError: the folder cannot be written, or its disk is full.
    """
    version = registry.resolve(name, alias)
    if version is None:
        raise RegistryError(
            f"no version of {name} carries the alias {alias}; run 'regulars promote {name}' or name another alias"
        )
    release = Release(version.version, alias, version.digest)
    if _current(bundles, name) == release and is_intact(bundle_folder(bundles, name, release.digest), release.digest):
        return None
    if not is_cleared(version, allow_unaudited=allow_unaudited):
        raise _not_cleared(version, alias)
    with _explained(registry, version, bundles):
        folder = bundles / name
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        _require_room(registry, version, bundles)
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
    *,
    allow_unaudited: bool = False,
    following: Following | None = None,
) -> None:
    """Syncs until `wait(seconds)` returns True; a failure leaves the last release and is tried again.

    A failure is logged when it begins and when its reason changes, not at every look, and so is its end. `following`
    is told how it fares.
    """
    following = following or Following(name, alias)
    said = ""
    while True:
        try:
            release = sync_once(registry, name, alias, bundles, allow_unaudited=allow_unaudited)
        except (RegistryError, BundleError, OSError) as error:
            following.failed()
            if _essence(error) != said:
                said = _essence(error)
                _log.warning("sync of %s@%s failed, the last release stays: %s", name, alias, error)
        else:
            following.succeeded()
            if said:
                said = ""
                _log.info("sync of %s@%s works again", name, alias)
            if release is not None:
                _log.info("released %s version %s (%s)", name, release.version, release.digest[:SHOWN_DIGITS])
        following.release = _current(bundles, name)
        if wait(poll_seconds * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311 - jitter, no secret
            return


def _essence(error: Exception) -> str:
    return _PASSING.sub("", str(error))


def _not_cleared(version: RegisteredVersion, alias: str) -> RegistryError:
    name, number = version.name, version.version
    return RegistryError(
        f"version {number} of {name} carries the alias {alias}, but no promotion let it through and it has passed no "
        f"fairness audit; run 'regulars promote {name} --version {number}' or 'regulars audit fairness {name}@{alias}'"
    )


@contextmanager
def _explained(registry: Registry, version: RegisteredVersion, bundles: Path) -> Iterator[None]:
    """Says what is the matter with the folder, where that is what keeps a bundle from being written."""
    try:
        yield
    except FolderError:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise _too_full(registry, version, bundles) from error
        remedy = f"let uid {os.getuid()} write there, or name another folder"
        if error.errno == errno.EFBIG:
            remedy = "let this process write larger files (ulimit -f)"
        raise FolderError(f"{bundles} cannot be written ({error.strerror or error}); {remedy}") from error


def _require_room(registry: Registry, version: RegisteredVersion, bundles: Path) -> None:
    """Half a bundle helps nobody, and a disk that it fills may be another's too."""
    if shutil.disk_usage(bundles).free < registry.bundle_bytes(version):
        raise _too_full(registry, version, bundles)


def _too_full(registry: Registry, version: RegisteredVersion, bundles: Path) -> FolderError:
    needed = registry.bundle_bytes(version) / MEGABYTE
    free = shutil.disk_usage(bundles).free / MEGABYTE
    return FolderError(
        f"the disk of {bundles} is full: the bundle of {version.name} version {version.version} takes {needed:.2f} MB, "
        f"and {free:.2f} MB are free; make room, or name another folder"
    )


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
