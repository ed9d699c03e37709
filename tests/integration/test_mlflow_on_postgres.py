"""The same as on the project's database, on PostgreSQL: what a team shares."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_mlflow_server import check_everything
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.tracking import free_port, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.postgres

DEBIAN = Path("/usr/lib/postgresql")
OWNER = "regulars"


def binaries() -> Path:
    """The newest release's; Debian keeps them off the path."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.fail(f"{DEBIAN} holds no PostgreSQL; install Debian's package postgresql")
    return found[-1].parent


def user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URI of a database of its own, gone with the test."""
    programs, port = binaries(), free_port()
    # Not in pytest's folders, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="regulars-postgres-"))
    owner = user()
    if owner:
        shutil.chown(folder, owner)
    data = str(folder / "data")
    quiet: dict[str, Any] = {"user": owner, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        initdb = [str(programs / "initdb"), "-D", data, "-U", OWNER, "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, **quiet)
        server = subprocess.Popen(
            [str(programs / "postgres"), "-D", data, "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"],
            **quiet,
        )
        try:
            asked = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
            eventually(lambda: subprocess.run(asked, check=False, **quiet).returncode == 0, "PostgreSQL to answer")
            yield f"postgresql://{OWNER}@127.0.0.1:{port}/postgres"
        finally:
            # The fast way, which does not wait for clients to leave.
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE_SECONDS)
    finally:
        shutil.rmtree(folder)


def test_a_registry_behind_a_server_on_postgresql(database: str, tmp_path: Path) -> None:
    check_everything(write_project(tmp_path), "--backend", database)
    assert not (tmp_path / ".regulars" / "mlflow.db").exists()
    assert (tmp_path / ".regulars" / "artifacts").is_dir()
