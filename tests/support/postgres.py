"""A real PostgreSQL server, for tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.tracking import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN = Path("/usr/lib/postgresql")
OWNER = "regulars"
HOST = "127.0.0.1"


@dataclass
class Postgres:
    """A database in a folder, whose server can be stopped and started again."""

    folder: Path
    port: int
    programs: Path
    _server: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"postgresql://{OWNER}@{HOST}:{self.port}/postgres"

    def make(self) -> None:
        """Makes the files of an empty database."""
        self._run("initdb", "-D", str(self.folder / "data"), "-U", OWNER, "-A", "trust", "--no-sync").check_returncode()

    def start(self) -> None:
        """Returns once it answers."""
        words = ("-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder), "-h", HOST, "-F")
        self._server = subprocess.Popen(self._command("postgres", *words), **self._quietly)
        eventually(
            lambda: self._run("pg_isready", "-h", HOST, "-p", str(self.port)).returncode == 0, "PostgreSQL to answer"
        )

    def stop(self) -> None:
        """The fast way, which does not wait for clients to leave; nothing where it does not run."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(PATIENCE_SECONDS)
            self._server = None

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self._command(program, *words), check=False, **self._quietly)

    def _command(self, program: str, *words: str) -> list[str]:
        command = [str(self.programs / program), *words]
        owner = _user()
        # By a program: for another user Python itself forks, and gRPC's handlers of forks run in the child.
        change = ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--init-groups"] if owner else []
        return [*change, *command]

    @property
    def _quietly(self) -> dict[str, Any]:
        silent = subprocess.DEVNULL
        # A session of its own: Ctrl-C at a terminal is for whoever started it.
        return {"cwd": self.folder, "stdout": silent, "stderr": silent, "start_new_session": True}


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server with a database of its own, both gone with the block.

    Raises:
        FileNotFoundError: no PostgreSQL is installed.
    """
    programs = _programs()
    # Not in pytest's folders, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="regulars-postgres-"))
    if (owner := _user()) is not None:
        shutil.chown(folder, owner)
    server = Postgres(folder, free_port(), programs)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _programs() -> Path:
    """The newest release's; Debian keeps them off the path."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise FileNotFoundError(f"{DEBIAN} holds no PostgreSQL; install Debian's package postgresql")
    return found[-1].parent


def _user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None
