"""What an image holds, and what it must not hold."""

from __future__ import annotations

import mmap
import re
from importlib.metadata import distributions
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.images import USER
from tests.support.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.images import Builder, Image

pytestmark = pytest.mark.images

TOOLS = re.compile(r"pip[\d.]*|uv|gcc.*|g\+\+.*|cc|c\+\+|clang.*|ld|as|make|cmake|git|curl|wget")
"""Names of commands that install, build or fetch."""

UNCHECKED_HASH = 0b01
"""The flags of bytecode that is never compared with its source (PEP 552)."""


@pytest.fixture(params=["serving", "jobs", "jobs_spark"], scope="module")
def image(request: pytest.FixtureRequest) -> Image:
    built: Image = request.getfixturevalue(request.param)
    return built


def locked(part: str) -> dict[str, str]:
    """Versions by name that the part's requirements mean on this Python."""
    lines = (REPOSITORY / "requirements" / f"{part}.txt").read_text().splitlines()
    found = [Requirement(line.rstrip(" \\")) for line in lines if "==" in line]
    meant = [requirement for requirement in found if requirement.marker is None or requirement.marker.evaluate()]
    return {requirement.name: str(requirement.specifier).removeprefix("==") for requirement in meant}


def test_it_holds_what_is_locked_and_the_suite_itself(image: Image) -> None:
    held = {canonicalize_name(one.name): one.version for one in distributions(path=[str(image.packages)])}
    assert held.pop(canonicalize_name("regulars"))
    assert held == locked(image.part)


def test_nothing_in_it_installs_builds_or_fetches(image: Image) -> None:
    folders = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "opt/regulars/bin")
    commands = {path.name for folder in folders for path in (image.root / folder).glob("*")}
    assert {"python", "regulars"} <= commands
    assert [name for name in sorted(commands) if TOOLS.fullmatch(name)] == []
    assert [path for name in ("pip", "ensurepip", "*.whl") for path in image.root.rglob(name)] == []


def test_no_layer_tells_how_its_packages_were_fetched(image: Image, builder: Builder, tmp_path: Path) -> None:
    file = builder.archive(image, tmp_path / "image.tar")
    # Mapped, not read: it may have gigabytes.
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as everything:
        assert everything.find(b"site-packages/services/core/server.py") >= 0
        assert everything.find(builder.mark.encode()) == -1
    file.unlink()


def test_its_bytecode_is_there_and_is_compared_with_nothing(image: Image) -> None:
    sources = list((image.packages / "services").rglob("*.py"))
    assert sources
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == UNCHECKED_HASH


def test_it_runs_as_somebody_who_can_write_nowhere_else_than_in_tmp(image: Image) -> None:
    program = (
        "import os, pwd; print(os.getpid(), os.getuid(), os.getgid(), pwd.getpwuid(os.getuid()).pw_dir); "
        "print(*(folder for folder, _, _ in os.walk('/') "
        "if os.access(folder, os.W_OK) and not folder.startswith(('/proc/', '/dev'))))"
    )
    assert image("-c", program, entrypoint=["python"]).splitlines() == [f"1 {USER} {USER} /tmp", "/tmp"]


def test_nothing_in_it_belongs_to_its_user(image: Image) -> None:
    """Who runs it without a read-only root is no worse off."""
    assert [path for path in image.root.rglob("*") if path.lstat().st_uid == USER] == []
