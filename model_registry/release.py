"""What a server follows: a folder of bundles and one small file that says which of them is released.

    <bundles>/churn/release.json       {"version": "7", "alias": "champion", "digest": "3f2a…"}
    <bundles>/churn/3f2a…/             the bundle of that digest

`release.json` is replaced by rename, after its bundle is in place, so a reader never sees a half-made release.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from model_registry.bundle import BundleError, read_bundle, read_regular, why_unreadable

RELEASE_FILE = "release.json"
SHOWN_DIGITS = 12
"""Of a bundle's digest, wherever people read it."""
LARGEST_BYTES = 2**12
"""Of `release.json`. What is longer is cut off, and then says nothing readable."""


@dataclass(frozen=True)
class Release:
    """One model's released version and the digest of its bundle."""

    version: str
    alias: str
    digest: str


def read_release(bundles: Path, model: str) -> Release | None:
    """The released version, or None where nothing is released yet.

    Raises:
        BundleError: the file is there but says nothing readable.
    """
    path = bundles / model / RELEASE_FILE
    try:
        release = Release(**json.loads(read_regular(path, LARGEST_BYTES)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read {why_unreadable(error)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: says nothing readable; sync {model} again") from error
    if not all(isinstance(value, str) for value in asdict(release).values()) or not release.digest.isalnum():
        raise BundleError(f"{path}: its digest is no digest; sync {model} again")
    return release


def bundle_folder(bundles: Path, model: str, digest: str) -> Path:
    return bundles / model / digest


def is_intact(folder: Path, digest: str) -> bool:
    """Whether `folder` holds the whole bundle of that digest."""
    try:
        return read_bundle(folder).digest == digest
    except BundleError:
        return False


def publish(bundles: Path, model: str, downloaded: Path, release: Release) -> None:
    """Moves a downloaded bundle into place and releases it; on any failure the release before stays.

    `downloaded` must lie on the same file system as `bundles`. Bundles other than this one and the one released
    before are deleted, unless only the version or the alias has changed.

    Raises:
        BundleError: `downloaded` is no bundle of `model` with the digest that the release names.
        OSError: the disk is full or the folder cannot be written.
    """
    bundle = read_bundle(downloaded)
    if bundle.digest != release.digest or bundle.manifest.name != model:
        raise BundleError(f"the downloaded bundle is not the one that {model} version {release.version} names")
    place = bundle_folder(bundles, model, release.digest)
    if not is_intact(place, release.digest):
        shutil.rmtree(place, ignore_errors=True)
        downloaded.rename(place)
    before = _released_before(bundles, model)
    _replace(bundles / model / RELEASE_FILE, json.dumps(asdict(release)) + "\n")
    if before != release.digest:
        _prune(bundles / model, keep={release.digest, before})


def _released_before(bundles: Path, model: str) -> str:
    try:
        release = read_release(bundles, model)
    except BundleError:
        return ""
    return release.digest if release else ""


def _replace(path: Path, text: str) -> None:
    descriptor, draft = tempfile.mkstemp(prefix=".release-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _prune(folder: Path, keep: set[str]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name not in keep and not entry.name.startswith("."):
            shutil.rmtree(entry, ignore_errors=True)
