from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from model_registry.bundle import BundleError
from model_registry.clearance import FAIL, INCONCLUSIVE, PASS, clearance_notes, verdict_notes
from model_registry.registry import RegistryError
from model_registry.release import bundle_folder, is_intact, read_release
from model_registry.sync import JITTER, FolderError, follow, sync_once
from model_registry.sync_metrics import Following
from tests.fakes.registry import FakeRegistry
from tests.support.bundles import make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Shop:
    """A registry with three versions of churn that promotions let through, and the folder that a sync fills."""

    def __init__(self, folder: Path) -> None:
        self.registry = FakeRegistry()
        self.bundles = folder / "bundles"
        self.sources = {str(number): folder / f"source-{number}" for number in (1, 2, 3)}
        for version, source in self.sources.items():
            self.registry.add(version, make_bundle(source, int(version) / 100).digest, bundle=source)
            self.note(version, clearance_notes(self.registry.get("churn", version), "fairness audit: PASS, pass"))
        self.registry.place("champion", "1")

    def note(self, version: str, notes: dict[str, str]) -> None:
        """Puts these notes in the place of those that the version has."""
        self.registry.notes["churn", version] = notes

    def verdict(self, version: str, verdict: str) -> None:
        """An audit, and no promotion."""
        self.note(version, verdict_notes(self.registry.get("churn", version), verdict))

    def sync(self, *, allow_unaudited: bool = False) -> str | None:
        release = sync_once(self.registry, "churn", "champion", self.bundles, allow_unaudited=allow_unaudited)
        return None if release is None else release.version

    def released(self) -> str | None:
        release = read_release(self.bundles, "churn")
        return None if release is None else release.version

    def place(self, version: str) -> Path:
        return bundle_folder(self.bundles, "churn", self.registry.get("churn", version).digest)

    def entries(self) -> set[str]:
        return {entry.name for entry in (self.bundles / "churn").iterdir()}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_new_release_appears(shop: Shop) -> None:
    assert shop.sync() == "1"
    assert shop.released() == "1"
    shop.registry.place("champion", "2")
    assert shop.sync() == "2"
    assert shop.released() == "2"


def test_an_up_to_date_folder_is_left_alone(shop: Shop) -> None:
    shop.sync()
    before = (shop.bundles / "churn" / "release.json").stat().st_mtime_ns
    assert shop.sync() is None
    assert shop.registry.downloads == 1
    assert (shop.bundles / "churn" / "release.json").stat().st_mtime_ns == before


def test_an_alias_that_nothing_carries_is_an_error_with_its_remedy(shop: Shop) -> None:
    with pytest.raises(RegistryError, match="no version of churn carries the alias shadow; run 'regulars promote"):
        sync_once(shop.registry, "churn", "shadow", shop.bundles)


def test_a_download_that_is_another_bundle_is_refused_and_the_last_release_stays(shop: Shop) -> None:
    shop.sync()
    shop.registry.add("2", shop.registry.get("churn", "2").digest, bundle=shop.sources["3"])
    shop.registry.place("champion", "2")
    with pytest.raises(BundleError, match="not the one that churn version 2 names"):
        shop.sync()
    assert shop.released() == "1"
    assert is_intact(shop.place("1"), shop.registry.get("churn", "1").digest)


def test_a_damaged_download_is_refused_and_leaves_nothing(shop: Shop) -> None:
    shop.sync()
    (shop.sources["2"] / "model.onnx").write_bytes(b"cut off")
    shop.registry.place("champion", "2")
    before = shop.entries()
    with pytest.raises(BundleError, match="checksum mismatch"):
        shop.sync()
    assert shop.released() == "1"
    assert shop.entries() == before


def test_a_registry_that_is_down_leaves_the_last_release(shop: Shop) -> None:
    shop.sync()
    shop.registry.is_down = True
    with pytest.raises(RegistryError):
        shop.sync()
    assert shop.released() == "1"


def test_a_damaged_local_bundle_is_healed(shop: Shop) -> None:
    shop.sync()
    (shop.place("1") / "manifest.json").unlink()
    assert shop.sync() == "1"
    assert is_intact(shop.place("1"), shop.registry.get("churn", "1").digest)


@pytest.mark.parametrize("text", ["{", '{"version": "1", "alias": "champion", "digest": 7}'])
def test_a_damaged_release_file_is_healed(shop: Shop, text: str) -> None:
    shop.sync()
    (shop.bundles / "churn" / "release.json").write_text(text)
    assert shop.sync() == "1"
    assert shop.released() == "1"


def test_bundles_before_the_previous_one_are_deleted(shop: Shop) -> None:
    for version in ("1", "2", "3"):
        shop.registry.place("champion", version)
        shop.sync()
    assert shop.entries() == {"release.json", shop.place("2").name, shop.place("3").name}


def test_a_rollback_is_a_release_like_any_other(shop: Shop) -> None:
    for version in ("1", "2", "1"):
        shop.registry.place("champion", version)
        assert shop.sync() == version
    assert shop.released() == "1"


def test_leftovers_of_a_killed_sync_are_deleted(shop: Shop) -> None:
    shop.sync()
    leftover = shop.bundles / "churn" / ".sync-killed"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"half a bundle")
    shop.registry.place("champion", "2")
    shop.sync()
    assert not leftover.exists()


def test_the_workspace_of_a_sync_that_is_still_running_stays(shop: Shop) -> None:
    running = shop.bundles / "churn" / ".sync-running"
    running.mkdir(parents=True)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); "
                "print('locked', flush=True); sys.stdin.read()"
            ),
            str(running),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    shop.sync()
    assert running.exists()
    holder.communicate(b"")
    shop.registry.place("champion", "2")
    shop.sync()
    assert not running.exists()


def test_the_workspace_lies_in_the_folder_and_goes_with_the_sync(shop: Shop) -> None:
    seen: list[Path] = []
    shop.registry.on_download = seen.append
    shop.sync()
    # On one file system the last step is a rename.
    assert seen[0].parent == shop.bundles / "churn"
    assert not seen[0].exists()


def test_an_alias_that_was_moved_past_promotion_is_not_followed(shop: Shop) -> None:
    shop.sync()
    shop.note("2", {})
    shop.registry.place("champion", "2")
    with pytest.raises(RegistryError, match="version 2 of churn carries the alias champion, but no promotion let it"):
        shop.sync()
    assert shop.released() == "1"
    assert shop.registry.downloads == 1


@pytest.mark.parametrize(
    ("verdict", "allow_unaudited", "released"),
    [
        (PASS, False, True),
        (INCONCLUSIVE, False, False),
        (INCONCLUSIVE, True, True),
        (FAIL, False, False),
        (FAIL, True, False),
        ("", True, True),
    ],
)
def test_what_is_followed_without_a_promotion(shop: Shop, verdict: str, allow_unaudited: bool, released: bool) -> None:
    shop.verdict("1", verdict)
    if released:
        assert shop.sync(allow_unaudited=allow_unaudited) == "1"
    else:
        with pytest.raises(RegistryError):
            shop.sync(allow_unaudited=allow_unaudited)
        assert shop.released() is None


def test_what_is_released_stays_whatever_is_said_of_it_later(shop: Shop) -> None:
    shop.sync()
    shop.verdict("1", FAIL)
    assert shop.sync() is None
    assert shop.released() == "1"


def test_a_disk_without_room_is_told_before_anything_is_downloaded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.sync()
    shop.registry.place("champion", "2")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    before = shop.entries()
    with pytest.raises(FolderError) as failure:
        shop.sync()
    assert str(failure.value).startswith(f"the disk of {shop.bundles} is full: the bundle of churn version 2 takes 0.0")
    assert "0.00 MB are free; make room" in str(failure.value)
    assert (shop.registry.downloads, shop.released(), shop.entries()) == (1, "1", before)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, r"the disk of .* is full"),
        (errno.EDQUOT, r"the disk of .* is full"),
        (errno.EACCES, r"cannot be written \(Permission denied\); let uid \d+ write there"),
        (errno.EROFS, r"cannot be written \(Read-only file system\)"),
        (errno.EFBIG, r"cannot be written \(File too large\); let this process write larger files"),
    ],
)
def test_a_folder_that_cannot_be_filled_is_named_and_the_last_release_stays(shop: Shop, number: int, text: str) -> None:
    shop.sync()
    before = shop.entries()

    def fail(into: Path) -> None:
        (into / "half").write_bytes(b"half a bundle")
        raise OSError(number, os.strerror(number))

    shop.registry.on_download = fail
    shop.registry.place("champion", "2")
    with pytest.raises(FolderError, match=text):
        shop.sync()
    assert (shop.released(), shop.entries()) == ("1", before)


def test_a_place_that_is_no_folder_is_named(shop: Shop, tmp_path: Path) -> None:
    shop.bundles = tmp_path / "file"
    shop.bundles.write_text("")
    with pytest.raises(FolderError, match="file cannot be written"):
        shop.sync()


def test_a_download_that_breaks_off_leaves_nothing(shop: Shop) -> None:
    shop.sync()
    before = shop.entries()

    def break_off(into: Path) -> None:
        (into / "bundle").mkdir()
        (into / "bundle" / "model.onnx").write_bytes(b"half")
        raise RegistryError("the registry does not answer any more")

    shop.registry.on_download = break_off
    shop.registry.place("champion", "2")
    with pytest.raises(RegistryError, match="any more"):
        shop.sync()
    assert (shop.released(), shop.entries()) == ("1", before)


class Waits:
    """Stands for the wait between syncs: keeps what it was asked for, acts, and ends after as many as told."""

    def __init__(self, *actions: Callable[[], object]) -> None:
        self._actions = list(actions)
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        if not self._actions:
            return True
        self._actions.pop(0)()
        return False


def test_following_goes_on_after_every_kind_of_failure(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    released: list[str | None] = []
    registry = shop.registry

    def down() -> None:
        registry.is_down = True

    def up_with(version: str) -> None:
        released.append(shop.released())
        registry.is_down = False
        registry.place("champion", version)

    def damage() -> None:
        released.append(shop.released())
        (shop.bundles / "churn" / "release.json").write_text('{"version": "1", "alias": "champion", "digest": 7}')

    waits = Waits(down, lambda: up_with("2"), damage)
    with caplog.at_level(logging.INFO):
        follow(registry, "churn", "champion", shop.bundles, waits, poll_seconds=10)
    assert released == ["1", "2"]
    assert shop.released() == "2"
    assert "sync of churn@champion failed, the last release stays" in caplog.text
    assert "released churn version 2" in caplog.text


def test_a_failure_is_logged_when_it_begins_when_it_changes_and_when_it_ends(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    registry = shop.registry

    def unaudited() -> None:
        shop.note("2", {})
        registry.place("champion", "2")

    def promoted() -> None:
        registry.is_down = False
        shop.note("2", clearance_notes(registry.get("churn", "2"), "fairness audit: FAIL, overridden by Ada"))

    def nothing() -> None: ...

    waits = Waits(unaudited, nothing, nothing, lambda: setattr(registry, "is_down", True), nothing, promoted, nothing)
    with caplog.at_level(logging.INFO):
        follow(registry, "churn", "champion", shop.bundles, waits)
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[0] for text in said] == [
        f"released churn version 1 ({registry.get('churn', '1').digest[:12]})",
        "sync of churn@champion failed, the last release stays",
        "sync of churn@champion failed, the last release stays",
        "sync of churn@champion works again",
        f"released churn version 2 ({registry.get('churn', '2').digest[:12]})",
    ]
    assert "no promotion let it through" in said[1]
    assert "does not answer" in said[2]


def test_a_disk_that_stays_full_is_told_once_though_its_figures_change(
    shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter(range(0, 10_000, 1_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=next(free) // 2))
    monkeypatch.setattr(shop.registry, "bundle_bytes", lambda version: 10_000)
    follow(shop.registry, "churn", "champion", shop.bundles, Waits(*[lambda: None] * 4))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_waits_vary_around_the_poll_so_that_followers_do_not_ask_at_once(shop: Shop) -> None:
    waits = Waits(*[lambda: None] * 50)
    follow(shop.registry, "churn", "champion", shop.bundles, waits, poll_seconds=10)
    assert all(10 * (1 - JITTER) <= seconds <= 10 * (1 + JITTER) for seconds in waits.seconds)
    assert len(set(waits.seconds)) > 1


def test_how_the_follower_fares_is_told_after_every_look(shop: Shop) -> None:
    shop.sync()
    told: list[tuple[float, int, str | None]] = []
    times = iter([100.0, 200.0])
    following = Following("churn", "champion", lambda: next(times))

    def tell() -> None:
        version = following.release.version if following.release else None
        told.append((following.last_success, following.failures, version))

    def down() -> None:
        tell()
        shop.registry.is_down = False

    def up_to_date() -> None:
        tell()
        shop.registry.place("champion", "2")

    shop.registry.is_down = True
    follow(shop.registry, "churn", "champion", shop.bundles, Waits(down, up_to_date), following=following)
    tell()
    # What a follower before it has released is told even while the registry is down.
    assert told == [(0.0, 1, "1"), (100.0, 1, "1"), (200.0, 1, "2")]
