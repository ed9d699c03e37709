"""Files and folders, on this machine or wherever fsspec reaches: one way to find, read and write them."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import fsspec
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, LocalFileSystem, PyFileSystem

from services.batch.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow import NativeFile

DRAFT_PREFIX = ".draft-"
"""Of files that are being written. Readers of Parquet folders pass over names that begin with a dot."""

HIDDEN_PREFIXES = (".", "_")
"""Of what stands beside the data in a folder."""

WILDCARDS = "*?["

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a file system says that takes no more, and does not say of which file."""


@dataclass(frozen=True)
class Place:
    """A file or folder by its path, or by a URL such as `s3://bucket/folder`."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Self:
        return type(self)(f"{self.url.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rsplit("/", 1)[-1]

    @property
    def parent(self) -> Self:
        folder, found, _ = self.url.rstrip("/").rpartition("/")
        return type(self)(folder or found or ".")

    @property
    def is_local(self) -> bool:
        return isinstance(self.system, LocalFileSystem)

    @property
    def system(self) -> FileSystem:
        return self._at[0]

    @property
    def path(self) -> str:
        """Within its file system."""
        return self._at[1]

    @cached_property
    def _at(self) -> tuple[FileSystem, str]:
        scheme, found, _ = self.url.partition("://")
        if not found or scheme in {"file", "local"}:
            return LocalFileSystem(), str(Path(self.url.removeprefix(f"{scheme}://" if found else "")).absolute())
        try:
            remote, path = fsspec.core.url_to_fs(self.url)
        except ValueError as error:
            raise BatchError(f"{self} cannot be reached: {error}; give a path, or a URL such as s3://…") from error
        return PyFileSystem(FSSpecHandler(remote)), path

    def is_folder(self) -> bool:
        return bool(self._type() == FileType.Directory)

    def exists(self) -> bool:
        return bool(self._type() != FileType.NotFound)

    def names(self) -> list[str]:
        """The files of a folder, in order; none if there is no such folder."""
        found = self.system.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == FileType.File)

    def files(self) -> list[Self]:
        """The files of a folder and of the folders in it, in order, but for what is hidden."""
        found = self.system.get_file_info(FileSelector(self.path, recursive=True))
        inner = sorted(info.path.removeprefix(self.path).lstrip("/") for info in found if info.type == FileType.File)
        return [self / name for name in inner if not _is_hidden(name)]

    @property
    def is_pattern(self) -> bool:
        return any(sign in self.url for sign in WILDCARDS)

    def matching(self) -> list[Self]:
        """The files and folders that a pattern such as `folder/*.parquet` names, in order, but for what is hidden."""
        system, pattern = fsspec.core.url_to_fs(self.url)
        fixed, start = _before_wildcards(pattern), _before_wildcards(self.url)
        names = (name.removeprefix(fixed) for name in sorted(system.glob(pattern)))
        return [type(self)(f"{start}{name}") for name in names if not _is_hidden(name)]

    def holds(self, other: Place) -> bool:
        """Whether the other lies in this folder, however deep."""
        if self.is_local and other.is_local:
            return Path(self.path).resolve() in Path(other.path).resolve().parents
        return bool(self.system == other.system) and other.path.startswith(f"{self.path.rstrip('/')}/")

    def make_folder(self) -> None:
        self.system.create_dir(self.path, recursive=True)

    def open(self) -> NativeFile:
        """Opens a file to read anywhere in it.

        Raises:
            OSError: it cannot be read.
        """
        return self.system.open_input_file(self.path)

    def read(self) -> bytes | None:
        """What a file holds; None if there is none."""
        if not self.exists():
            return None
        with self.open() as file:
            return bytes(file.read())

    @contextmanager
    def writing(self) -> Iterator[NativeFile]:
        """A file to write to, which appears whole at the end of the block, or not at all.

        Raises:
            OSError: it cannot be written.
        """
        # Not by the process's number: those of two machines may be the same.
        draft = self.parent / f"{DRAFT_PREFIX}{uuid4().hex}-{self.name}"
        try:
            with draft.system.open_output_stream(draft.path) as file:
                yield file
            if self.is_local:
                _settle(draft.path)
            draft.move_to(self)
        except BaseException as error:
            with suppress(OSError):
                draft.remove()
            if isinstance(error, OSError) and error.errno in FULL:
                raise OSError(error.errno, os.strerror(error.errno), self.url) from error
            raise

    def write(self, content: bytes) -> None:
        """The same for content that is at hand."""
        with self.writing() as file:
            file.write(content)

    def remove(self) -> None:
        """Deletes a file, if it is there."""
        if self.exists():
            self.system.delete_file(self.path)

    def remove_folder(self) -> None:
        """Deletes a folder with all that it holds, if it is there."""
        if self.exists():
            self.system.delete_dir(self.path)

    def move_to(self, other: Place) -> None:
        """Renames a file, to replace another one, if there is one, in the same file system."""
        self.system.move(self.path, other.path)

    def remove_drafts(self) -> None:
        """Deletes what writers of this folder left behind that were killed."""
        for name in self.names():
            if name.startswith(DRAFT_PREFIX):
                (self / name).remove()

    def _type(self) -> FileType:
        return self.system.get_file_info(self.path).type


def _is_hidden(path: str) -> bool:
    return any(name.startswith(HIDDEN_PREFIXES) for name in path.split("/"))


def _before_wildcards(pattern: str) -> str:
    """The folders that are written out, with the last slash."""
    first = min(at for sign in WILDCARDS if (at := pattern.find(sign)) >= 0)
    return pattern[: pattern.rfind("/", 0, first) + 1]


def _settle(path: str) -> None:
    """A rename may reach the disk before what it renames: after a power cut the file would be there, and empty."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
