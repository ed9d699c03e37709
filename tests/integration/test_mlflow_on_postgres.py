"""The same as on the project's database, on PostgreSQL: what a team shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.test_mlflow_server import check_everything
from tests.support.postgres import Postgres, postgres
from tests.support.tracking import write_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


def test_a_registry_behind_a_server_on_postgresql(database: Postgres, tmp_path: Path) -> None:
    check_everything(write_project(tmp_path), "--backend", database.uri)
    assert not (tmp_path / ".regulars" / "mlflow.db").exists()
    assert (tmp_path / ".regulars" / "artifacts").is_dir()
