from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from services.core.followed import DamagedError, Followed, Follower
from services.core.settings import SettingsError
from tests.support.polling import eventually

if TYPE_CHECKING:
    from pathlib import Path


def joined(contents: tuple[bytes, ...]) -> str:
    text = b"+".join(contents).decode()
    if "bad" in text:
        raise DamagedError("it is bad")
    if "bug" in text:
        raise ZeroDivisionError("secret words")
    return text


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "first", tmp_path / "second"
    for path in paths:
        path.write_text("old")
    return paths


def stale(name: str) -> float | None:
    return REGISTRY.get_sample_value("regulars_setting_stale", {"setting": name})


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["fields"]["reason"] for record in caplog.records if record.levelno == logging.ERROR]


def test_what_has_changed_is_read_anew_and_nothing_else(files: tuple[Path, Path]) -> None:
    readings = []

    def read(contents: tuple[bytes, ...]) -> str:
        readings.append(contents)
        return joined(contents)

    followed = Followed("TEST", files, read)
    for _ in range(3):
        followed.look()
    assert (followed.value, len(readings)) == ("old+old", 1)
    files[1].write_text("new")
    for _ in range(3):
        followed.look()
    assert (followed.value, len(readings)) == ("old+new", 2)


@pytest.mark.parametrize(
    ("content", "why"), [("bad", "it is bad"), ("bug", "ZeroDivisionError"), (None, "No such file or directory")]
)
def test_the_last_good_reading_stands_and_it_is_said_once(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture, content: str | None, why: str
) -> None:
    followed = Followed("TEST", files, joined)
    assert stale("TEST") == 0
    if content is None:
        files[1].unlink()
    else:
        files[1].write_text(content)
    for _ in range(3):
        followed.look()
    assert followed.value == "old+old"
    assert stale("TEST") == 1
    assert len(complaints(caplog)) == 1
    assert why in complaints(caplog)[0]
    assert "secret words" not in caplog.text
    files[1].write_text("mended")
    followed.look()
    assert followed.value == "old+mended"
    assert stale("TEST") == 0


def test_another_damage_is_said_again_and_taking_it_back_is_no_change(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed("TEST", files, joined)
    for content in ("bad", "bug", "bad", "old"):
        files[0].write_text(content)
        followed.look()
    assert complaints(caplog) == ["it is bad", "ZeroDivisionError", "it is bad"]
    assert stale("TEST") == 0
    assert followed.value == "old+old"


@pytest.mark.parametrize(
    ("content", "why"), [("bad", "^SETTING: it is bad$"), (None, "^SETTING: .*first cannot be read: No such file")]
)
def test_there_is_no_beginning_without_a_good_reading(files: tuple[Path, Path], content: str | None, why: str) -> None:
    if content is None:
        files[0].unlink()
    else:
        files[0].write_text(content)
    with pytest.raises(SettingsError, match=why):
        Followed("SETTING", files, joined)


def test_links_are_followed_where_they_lead_now(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    current = tmp_path / "current"
    current.symlink_to("one")
    followed = Followed("TEST", [current / "file"], joined)
    fresh = tmp_path / "fresh"
    fresh.symlink_to("two")
    fresh.replace(current)
    followed.look()
    assert followed.value == "two"


def test_a_follower_looks_until_it_is_stopped() -> None:
    looks: list[str] = []
    follower = Follower([lambda: looks.append("a"), lambda: looks.append("b")], 0.001)
    follower.start()
    eventually(lambda: len(looks) >= 6, "three looks at each")
    follower.stop()
    seen = len(looks)
    assert looks[:4] == ["a", "b", "a", "b"]
    assert not follower._thread.is_alive()
    assert len(looks) == seen


def test_with_nothing_to_look_at_there_is_no_thread() -> None:
    follower = Follower([], 0.001)
    follower.start()
    assert not follower._thread.is_alive()
    follower.stop()
