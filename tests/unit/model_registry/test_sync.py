from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from model_registry.bundle import BundleError
from model_registry.registry import RegistryError
from model_registry.release import bundle_folder, is_intact, read_release
from model_registry.sync import JITTER, follow, sync_once
from tests.fakes.registry import FakeRegistry
from tests.support.bundles import make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Shop:
    """A registry with two versions of churn, and the folder that a sync fills."""

    def __init__(self, folder: Path) -> None:
        self.registry = FakeRegistry()
        self.bundles = folder / "bundles"
        self.sources = {str(number): folder / f"source-{number}" for number in (1, 2, 3)}
        for version, source in self.sources.items():
            self.registry.add(version, make_bundle(source, int(version) / 100).digest, bundle=source)
        self.registry.place("champion", "1")

    def sync(self) -> str | None:
        release = sync_once(self.registry, "churn", "champion", self.bundles)
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


def test_waits_vary_around_the_poll_so_that_followers_do_not_ask_at_once(shop: Shop) -> None:
    waits = Waits(*[lambda: None] * 50)
    follow(shop.registry, "churn", "champion", shop.bundles, waits, poll_seconds=10)
    assert all(10 * (1 - JITTER) <= seconds <= 10 * (1 + JITTER) for seconds in waits.seconds)
    assert len(set(waits.seconds)) > 1
