"""Files and folders, the same on this machine and elsewhere: `memory://` stands for elsewhere."""

from __future__ import annotations

import errno
import pickle
import uuid
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from services.batch.errors import BatchError
from services.batch.place import DRAFT_PREFIX, Place


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A folder that is there and empty."""
    urls = {"path": str(tmp_path / "base"), "file": f"file://{tmp_path}/base", "memory": f"memory://{uuid.uuid4()}"}
    place = Place(urls[request.param])
    place.make_folder()
    return place


def filled(folder: Place, *names: str) -> Place:
    for name in names:
        (folder / name).parent.make_folder()
        (folder / name).write(name.encode())
    return folder


def names_of(places: list[Place], folder: Place) -> list[str]:
    return [place.url.removeprefix(f"{folder}/") for place in places]


def test_what_is_written_is_there_whole(folder: Place) -> None:
    file = folder / "part"
    assert not file.exists()
    assert file.read() is None
    file.write(b"first")
    file.write(b"second")
    assert file.read() == b"second"
    assert folder.names() == ["part"]


def test_nothing_appears_before_the_end(folder: Place) -> None:
    with (folder / "part").writing() as file:
        file.write(b"half")
        assert not (folder / "part").exists()
    assert (folder / "part").read() == b"half"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError(), OSError(errno.EIO, "broken")])
def test_what_fails_leaves_what_was_there(folder: Place, error: BaseException) -> None:
    filled(folder, "part")

    def fail() -> None:
        with (folder / "part").writing() as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert folder.names() == ["part"]
    assert (folder / "part").read() == b"part"


def test_a_full_disk_is_told_with_the_place(folder: Place) -> None:
    def fill() -> None:
        with (folder / "part").writing(), LocalFileSystem().open_output_stream("/dev/full", buffer_size=None) as full:
            full.write(b"more than none")

    with pytest.raises(OSError, match=r"No space left on device: '.*part'") as caught:
        fill()
    assert caught.value.errno == errno.ENOSPC
    assert folder.names() == []


def test_drafts_of_the_dead_are_removed_and_nothing_else(folder: Place) -> None:
    filled(folder, f"{DRAFT_PREFIX}123-part", "part", ".hidden").remove_drafts()
    assert folder.names() == [".hidden", "part"]


def test_a_folder_that_is_not_there_has_no_names(folder: Place) -> None:
    nowhere = folder / "nowhere"
    assert not nowhere.exists()
    assert not nowhere.is_folder()
    assert nowhere.names() == []
    nowhere.remove_drafts()
    nowhere.remove()
    nowhere.remove_folder()


def test_folders_are_no_names(folder: Place) -> None:
    assert filled(folder, "b", "a", "inner/c").names() == ["a", "b"]
    assert (folder / "inner").is_folder()
    assert not (folder / "a").is_folder()


def test_a_file_moves_onto_another(folder: Place) -> None:
    filled(folder, "from", "to", "inner/x")
    (folder / "from").move_to(folder / "to")
    (folder / "to").move_to(folder / "inner/x")
    assert folder.names() == []
    assert (folder / "inner/x").read() == b"from"


def test_a_folder_is_removed_with_all_in_it(folder: Place) -> None:
    filled(folder, "inner/a", "inner/deep/b", "c")
    (folder / "inner").remove_folder()
    assert not (folder / "inner").exists()
    assert folder.names() == ["c"]


TREE = ("b.csv", "a.csv", "inner/c.csv", "inner/deep/d.csv", "_beside/e.csv", "inner/.hidden/f.csv", ".g.csv")


def test_files_are_found_in_all_folders_but_hidden_ones(folder: Place) -> None:
    filled(folder, *TREE)
    assert names_of(folder.files(), folder) == ["a.csv", "b.csv", "inner/c.csv", "inner/deep/d.csv"]
    assert names_of((folder / "inner/").files(), folder) == ["inner/c.csv", "inner/deep/d.csv"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "inner/c.csv", "inner/deep/d.csv"]),
        ("inner/?.csv", ["inner/c.csv"]),
        ("[bx].csv", ["b.csv"]),
        ("i*", ["inner"]),
        ("*.parquet", []),
    ],
)
def test_patterns_name_files_and_folders(folder: Place, pattern: str, found: list[str]) -> None:
    named = filled(folder, *TREE) / pattern
    assert named.is_pattern
    assert names_of(named.matching(), folder) == found


def test_patterns_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filled(Place("base"), *TREE)
    assert Place("base/*.csv").matching() == [Place("base/a.csv"), Place("base/b.csv")]
    assert Place("b*/i*").matching() == [Place("base/inner")]
    assert Place("base").files()[0] == Place("base/a.csv")


def test_a_folder_holds_what_lies_in_it(folder: Place) -> None:
    assert folder.holds(folder / "a")
    assert folder.holds(folder / "inner/a")
    assert not folder.holds(folder)
    assert not (folder / "a").holds(folder / "ab")
    assert not folder.holds(Place("memory://elsewhere/a"))
    assert not folder.holds(Place("elsewhere/a"))


def test_a_folder_holds_what_a_link_leads_into(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Place(str(tmp_path / "link")).holds(Place(str(tmp_path / "real" / "a")))


@pytest.mark.parametrize(
    ("url", "name", "parent"),
    [
        ("/a/b", "b", "/a"),
        ("/a/", "a", "/"),
        ("/a", "a", "/"),
        ("a/b/", "b", "a"),
        ("a", "a", "."),
        ("s3://bucket/a/b", "b", "s3://bucket/a"),
        ("file:///a/b", "b", "file:///a"),
    ],
)
def test_names_and_parents(url: str, name: str, parent: str) -> None:
    assert (Place(url).name, str(Place(url).parent)) == (name, parent)


def test_a_file_of_the_working_folder_is_written_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Place("part").write(b"here")
    assert list(tmp_path.iterdir()) == [tmp_path / "part"]
    assert Path("part").read_bytes() == b"here"


def test_a_place_travels_to_other_processes(folder: Place) -> None:
    filled(folder, "part")
    there: Place = pickle.loads(pickle.dumps(folder))
    assert there == folder
    assert there.names() == ["part"]


def test_a_kind_of_url_that_nobody_knows_is_named() -> None:
    with pytest.raises(BatchError, match=r"carrier-pigeon://coop/a cannot be reached.*give a path"):
        Place("carrier-pigeon://coop/a").exists()
