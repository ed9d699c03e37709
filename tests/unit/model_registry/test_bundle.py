from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from model_registry.bundle import (
    CONTENTS,
    LARGEST_BYTES,
    BundleError,
    Golden,
    read_bundle,
    why_unreadable,
    write_bundle,
)
from model_registry.graph_guard import GraphError
from tests.support.bundles import GOLDEN_ROWS, columns, golden, graph, make_bundle, manifest

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = (*CONTENTS, "SHA256SUMS")
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def forge(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file and makes the checksums agree: what the form alone must refuse."""
    (folder / name).write_bytes(content)
    sums = (f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {file}\n" for file in CONTENTS)
    (folder / "SHA256SUMS").write_text("".join(sums))


def forge_json(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads((folder / name).read_text())
    change(data)
    forge(folder, name, json.dumps(data).encode())


def test_what_was_written_is_read(tmp_path: Path) -> None:
    model = graph().SerializeToString()
    digest = write_bundle(tmp_path / "new" / "bundle", manifest(), model, golden())
    bundle = read_bundle(tmp_path / "new" / "bundle")
    assert bundle.manifest == manifest()
    assert bundle.model == model
    assert bundle.digest == digest
    np.testing.assert_array_equal(bundle.golden.columns.numeric, columns(*GOLDEN_ROWS).numeric)
    np.testing.assert_array_equal(bundle.golden.columns.categorical, columns(*GOLDEN_ROWS).categorical)
    np.testing.assert_array_equal(bundle.golden.expected["churn_probability"], golden().expected["churn_probability"])


def test_the_digest_is_that_of_the_checksums(folder: Path) -> None:
    assert read_bundle(folder).digest == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()


def test_the_same_content_has_the_same_digest_and_another_has_another(tmp_path: Path) -> None:
    first, same = make_bundle(tmp_path / "first"), make_bundle(tmp_path / "same")
    other = make_bundle(tmp_path / "other", run_id="another")
    assert first.digest == same.digest != other.digest


def test_checksums_are_what_sha256sum_checks(folder: Path) -> None:
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"cannot read {name}.*sync"):
        read_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match="checksum mismatch"):
        read_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_an_emptied_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(BundleError, match="checksum mismatch"):
        read_bundle(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_one_flipped_bit_is_refused(folder: Path, name: str, place: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int((len(content) - 1) * place)] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match="checksum mismatch"):
        read_bundle(folder)


@pytest.mark.parametrize("name", CONTENTS)
def test_the_damaged_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"damaged")
    with pytest.raises(BundleError, match=f"checksum mismatch in {name};"):
        read_bundle(folder)


@pytest.mark.parametrize("claim", ["0" * 64 + "  extra.py\n", "\n", "# comment\n"])
def test_claims_beside_the_three_files_are_refused(folder: Path, claim: str) -> None:
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(claim)
    with pytest.raises(BundleError, match="checksum mismatch in SHA256SUMS"):
        read_bundle(folder)


def test_claims_in_another_order_are_refused(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(reversed(sums.read_text().splitlines(keepends=True))))
    with pytest.raises(BundleError, match="checksum mismatch"):
        read_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    outside = folder.parent / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(BundleError, match=f"cannot read {name}"):
        read_bundle(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_at_once(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink()
    make(folder / name)
    before = len(list(OPEN_FILES.iterdir()))
    with pytest.raises(BundleError, match=f"cannot read {name}"):
        read_bundle(folder)
    assert len(list(OPEN_FILES.iterdir())) == before


@pytest.mark.parametrize("name", FILES)
def test_a_file_larger_than_any_honest_one_is_refused(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (folder / name).stat().st_size
    monkeypatch.setitem(LARGEST_BYTES, name, size)
    read_bundle(folder)
    monkeypatch.setitem(LARGEST_BYTES, name, size - 1)
    with pytest.raises(BundleError, match=f"{name} holds more than {size - 1:,} bytes"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EACCES, f"(Permission denied); let uid {os.getuid()} read it"),
        (errno.ELOOP, "(a link); sync the bundle again"),
        (errno.EIO, "(Input/output error); sync the bundle again"),
    ],
)
def test_why_a_file_cannot_be_read_comes_with_its_remedy(number: int, text: str) -> None:
    assert why_unreadable(OSError(number, os.strerror(number))) == text


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot read"):
        read_bundle(tmp_path / "absent")


@pytest.mark.parametrize(
    "content",
    [b"", b"no json", b"[]", b"{}", b"null", b"\xff\xfe", b'{"schema": {}}', b"[" * 100_000],
)
def test_a_manifest_of_another_form_is_refused(folder: Path, content: bytes) -> None:
    forge(folder, "manifest.json", content)
    with pytest.raises(BundleError, match="not of the form this version reads"):
        read_bundle(folder)


def test_a_manifest_with_an_entry_this_version_does_not_know_is_refused(folder: Path) -> None:
    forge_json(folder, "manifest.json", lambda data: data.update(format=2))
    with pytest.raises(BundleError, match="not of the form"):
        read_bundle(folder)


def test_a_manifest_without_an_entry_is_refused(folder: Path) -> None:
    forge_json(folder, "manifest.json", lambda data: data.pop("horizon_days"))
    with pytest.raises(BundleError, match="not of the form"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"numeric": None},
        {"numeric": [[1.0], [2.0, 3.0], [4.0]]},
        {"numeric": [["one", "two"]] * 3},
        {"numeric": [[10**400, 1.0]] * 3},
        {"categorical": [["web"]]},
        {"expected": {}},
        {"expected": {"churn_probability": "high"}},
    ],
)
def test_golden_rows_of_another_form_are_refused(folder: Path, change: dict[str, object]) -> None:
    forge_json(folder, "golden.json", lambda data: data.update(change))
    with pytest.raises(BundleError, match="not of the form"):
        read_bundle(folder)


def test_a_graph_that_reaches_outside_is_refused_even_with_right_checksums(folder: Path) -> None:
    foreign = helper.make_model(helper.make_graph([helper.make_node("X", [], [], domain="acme")], "g", [], []))
    forge(folder, "model.onnx", foreign.SerializeToString())
    with pytest.raises(BundleError, match=r"model\.onnx: operators of domain 'acme'"):
        read_bundle(folder)


def test_a_bundle_is_never_overwritten(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in FILES}
    with pytest.raises(FileExistsError, match="never overwritten"):
        make_bundle(folder, weight=0.5)
    assert {name: (folder / name).read_bytes() for name in FILES} == before
    assert list(folder.parent.iterdir()) == [folder]


def external_tensor() -> onnx.ModelProto:
    model = graph()
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return model


def test_a_write_refused_by_the_graph_guard_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(GraphError):
        write_bundle(tmp_path / "bundle", manifest(), external_tensor().SerializeToString(), golden())
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    unwritable = Golden(golden().columns, {"churn_probability": np.array([np.nan] * 3, np.float32)})
    with pytest.raises(ValueError, match="JSON"):
        write_bundle(tmp_path / "bundle", manifest(), graph().SerializeToString(), unwritable)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_can_be_read_by_another_user(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o755


def test_golden_numbers_come_back_to_the_last_bit(tmp_path: Path) -> None:
    awkward = np.array([[0.1, np.nan], [1e-45, -0.0], [3.4028235e38, 1 / 3]], np.float32)
    scores = np.array([0.1, 1e-45, 1 / 3], np.float32)
    written = Golden(columns(*GOLDEN_ROWS), {"churn_probability": scores})
    written.columns.numeric[:] = awkward
    write_bundle(tmp_path / "bundle", manifest(), graph().SerializeToString(), written)
    read = read_bundle(tmp_path / "bundle").golden
    assert read.columns.numeric.tobytes() == awkward.tobytes()
    assert read.expected["churn_probability"].tobytes() == scores.tobytes()
