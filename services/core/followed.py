"""Small files that change under a running server: the last good reading stands until there is a better one."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from services.core.metrics import STALE
from services.core.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

_log = logging.getLogger(__name__)


class DamagedError(Exception):
    """Files that cannot be read as what they are to be. Says why, and quotes nothing of them."""


class Followed(Generic[T]):
    """What some files say. All of them are read at once and anew when one of them has changed."""

    def __init__(self, name: str, paths: Sequence[Path], read: Callable[[tuple[bytes, ...]], T]) -> None:
        """Reads for the first time. `read` takes the contents in the order of `paths`, and raises DamagedError.

        Raises:
            SettingsError: there is no good reading to begin with. `name` is the setting's.
        """
        self._name = name
        self._paths = tuple(paths)
        self._read = read
        self._stale = STALE.labels(name)
        self._trouble = ""
        try:
            self._contents = self._load()
            self.value = read(self._contents)
        except (OSError, DamagedError) as error:
            raise SettingsError(f"{name}: {_why(error)}") from error
        self._stale.set(0)

    def look(self) -> None:
        """Reads anew what has changed; never raises."""
        trouble = ""
        try:
            contents = self._load()
            if contents != self._contents:
                self.value, self._contents = self._read(contents), contents
                _log.info("read anew", extra={"fields": {"setting": self._name}})
        except Exception as error:  # noqa: BLE001 - whatever lies there, the last good reading stands
            trouble = _why(error)
        if trouble != self._trouble:
            self._trouble = trouble
            self._stale.set(bool(trouble))
            if trouble:
                fields = {"setting": self._name, "reason": trouble}
                _log.error("cannot be read, keeping what was read before", extra={"fields": fields})

    def _load(self) -> tuple[bytes, ...]:
        return tuple(path.read_bytes() for path in self._paths)


class Follower:
    """A thread that looks, and looks again."""

    def __init__(self, looks: Sequence[Callable[[], None]], seconds: float) -> None:
        """Each of `looks` never raises."""
        self._looks = looks
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-files", daemon=True)

    def start(self) -> None:
        if self._looks:
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        while not self._stopping.wait(self._seconds):
            for look in self._looks:
                look()


def _why(error: Exception) -> str:
    match error:
        case DamagedError():
            return str(error)
        case OSError():
            return f"{error.filename} cannot be read: {error.strerror}"
    return type(error).__name__
