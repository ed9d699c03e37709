from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from model_registry.bundle import BundleError, read_bundle
from model_registry.release import Release, bundle_folder, is_intact, publish, read_release
from tests.support.bundles import make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def publish_bundle(bundles: Path, version: str, weight: float, **changes: object) -> Release:
    downloaded = bundles / "churn" / ".download"
    digest = make_bundle(downloaded, weight, None, **changes).digest
    release = Release(version, "champion", digest)
    publish(bundles, "churn", downloaded, release)
    return release


def folders(bundles: Path) -> set[str]:
    return {entry.name for entry in (bundles / "churn").iterdir() if entry.is_dir()}


def test_where_nothing_is_released_there_is_no_release(tmp_path: Path) -> None:
    assert read_release(tmp_path, "churn") is None


def test_what_was_published_is_released_under_its_digest(tmp_path: Path) -> None:
    release = publish_bundle(tmp_path, "1", 0.01)
    assert read_release(tmp_path, "churn") == release
    assert read_bundle(bundle_folder(tmp_path, "churn", release.digest)).digest == release.digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"version": "1", "alias": "champion"}',
        '{"version": "1", "alias": "champion", "digest": "ab", "more": "x"}',
        '{"version": "1", "alias": "champion", "digest": ""}',
        '{"version": "1", "alias": "champion", "digest": "../../etc"}',
        '{"version": "1", "alias": "champion", "digest": 7}',
        '{"version": 1, "alias": "champion", "digest": "ab"}',
        '{"version": "1", "alias": null, "digest": "ab"}',
        "[" * 4_000,
        " " * 5_000 + '{"version": "1", "alias": "champion", "digest": "ab"}',
    ],
)
def test_a_release_file_that_says_nothing_readable_is_a_bundle_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "release.json").write_text(text)
    with pytest.raises(BundleError, match=r"release\.json.*sync churn again"):
        read_release(tmp_path, "churn")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "what"), [(a_pipe, r"\(not a file\)"), (a_link, r"\(a link\)"), (a_folder, r"\(not a file\)")]
)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None], what: str) -> None:
    (tmp_path / "churn").mkdir()
    make(tmp_path / "churn" / "release.json")
    with pytest.raises(BundleError, match=rf"release\.json: cannot be read {what}; sync"):
        read_release(tmp_path, "churn")


def test_where_a_file_is_in_the_place_of_the_folder_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "churn").write_text("")
    with pytest.raises(BundleError, match=r"cannot be read \(Not a directory\)"):
        read_release(tmp_path, "churn")


def test_a_bundle_of_another_digest_is_refused_and_the_last_release_stays(tmp_path: Path) -> None:
    last = publish_bundle(tmp_path, "1", 0.01)
    other = tmp_path / "churn" / ".other"
    make_bundle(other, 0.02)
    with pytest.raises(BundleError, match="not the one that churn version 2 names"):
        publish(tmp_path, "churn", other, Release("2", "champion", "f" * 64))
    assert read_release(tmp_path, "churn") == last
    assert is_intact(bundle_folder(tmp_path, "churn", last.digest), last.digest)


def test_a_bundle_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not the one"):
        publish_bundle(tmp_path, "1", 0.01, name="propensity")
    assert read_release(tmp_path, "churn") is None


def test_the_bundle_released_before_is_kept_and_older_ones_are_deleted(tmp_path: Path) -> None:
    releases = [publish_bundle(tmp_path, str(version), version / 100) for version in (1, 2, 3)]
    assert folders(tmp_path) == {releases[1].digest, releases[2].digest}


def test_the_same_bundle_under_another_version_displaces_no_bundle(tmp_path: Path) -> None:
    first, second = (publish_bundle(tmp_path, str(version), version / 100) for version in (1, 2))
    again = publish_bundle(tmp_path, "3", 0.02)
    assert again.digest == second.digest
    assert read_release(tmp_path, "churn") == again
    assert folders(tmp_path) - {".download"} == {first.digest, second.digest}


def test_a_damaged_bundle_in_the_place_is_replaced(tmp_path: Path) -> None:
    release = publish_bundle(tmp_path, "1", 0.01)
    place = bundle_folder(tmp_path, "churn", release.digest)
    (place / "model.onnx").write_bytes(b"damaged")
    publish_bundle(tmp_path, "1", 0.01)
    assert is_intact(place, release.digest)


def test_an_unreadable_release_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "release.json").write_text("{")
    release = publish_bundle(tmp_path, "1", 0.01)
    assert read_release(tmp_path, "churn") == release


def test_publishing_leaves_no_drafts_and_a_file_that_others_can_read(tmp_path: Path) -> None:
    release = publish_bundle(tmp_path, "1", 0.01)
    assert {entry.name for entry in (tmp_path / "churn").iterdir()} == {release.digest, "release.json"}
    file = tmp_path / "churn" / "release.json"
    assert file.stat().st_mode & 0o777 == 0o644
    assert json.loads(file.read_text()) == {"version": "1", "alias": "champion", "digest": release.digest}
