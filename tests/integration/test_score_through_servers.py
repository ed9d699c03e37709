"""A run through a server that is killed, full, or changes its model, while it scores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from services.batch.engines import LocalEngine
from services.batch.errors import ChangedError
from services.batch.place import Place
from services.batch.plan import plan
from services.batch.run import run
from services.batch.scorers import ServerModel
from services.client.stream import MAX_BREAKS
from tests.support.bundles import columns, release_bundle, release_forest
from tests.support.calls import OpenStream, table_of
from tests.support.polling import eventually
from tests.support.scoring import awkward_customers, bundle_model, files_in, scored, source_of
from tests.support.server import running
from tests.support.tracking import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from services.batch.source import Source
    from tests.support.server import ServerProcess

SLOW_FOREST = {"trees": 4000, "depth": 5}
"""Takes seconds over the whole base, and so for sure some while over a shard."""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return source_of(awkward_customers(), tmp_path / "customers.parquet")


def served_by(server: ServerProcess) -> ServerModel:
    return ServerModel.at("churn", f"127.0.0.1:{server.port}")


def tables_received(server: ServerProcess) -> float:
    return server.metric("grpc_server_msg_received_total", grpc_type="bidi_stream")


def test_a_server_that_is_killed_and_comes_back_costs_nobody_his_score(source: Source, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    release = release_forest(bundles, "1", **SLOW_FOREST)
    scored([bundle_model(bundles, "churn", release)], source, LocalEngine(2), tmp_path / "undisturbed")
    port = free_port()
    with ExitStack() as servers, ThreadPoolExecutor(1) as thread:
        first = servers.enter_context(running(bundles, port=port))
        scoring = thread.submit(scored, [served_by(first)], source, LocalEngine(2), tmp_path / "out")
        eventually(lambda: tables_received(first) > 2, "the first tables")
        first.process.kill()
        first.wait()
        second = servers.enter_context(running(bundles, port=port))
        scoring.result()
        assert tables_received(second) > 0
    assert files_in(tmp_path / "out") == files_in(tmp_path / "undisturbed")


def test_a_run_waits_for_a_place_for_as_long_as_others_hold_them(source: Source, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    release = release_forest(bundles, "1")
    scored([bundle_model(bundles, "churn", release)], source, LocalEngine(1), tmp_path / "undisturbed")
    with running(bundles, bulk_calls=1) as server, server.channel() as channel, ThreadPoolExecutor(1) as thread:
        other = OpenStream(channel)
        other.ask(1, table_of(columns((10, 2, "web"))))
        scoring = thread.submit(scored, [served_by(server)], source, LocalEngine(1), tmp_path / "out")
        # More often than a stream may break.
        eventually(lambda: server.metric("regulars_calls_rejected_total", lane="bulk") > MAX_BREAKS, "refusals")
        assert not scoring.done()
        other.end()
        scoring.result()
    assert files_in(tmp_path / "out") == files_in(tmp_path / "undisturbed")


def test_more_processes_than_places_take_turns(source: Source, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    release = release_forest(bundles, "1")
    scored([bundle_model(bundles, "churn", release)], source, LocalEngine(1), tmp_path / "undisturbed")
    with running(bundles, bulk_calls=1) as server:
        scored([served_by(server)], source, LocalEngine(3), tmp_path / "out")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "undisturbed")


def test_a_version_that_changes_in_the_middle_ends_the_run_and_what_is_done_stays(
    source: Source, tmp_path: Path
) -> None:
    bundles = tmp_path / "bundles"
    release_bundle(bundles, "1")
    with running(bundles) as server:
        task, identity = plan([served_by(server)], source, Place(str(tmp_path / "out")))

        def change(done: int, _rows: int) -> None:
            if done:
                release_bundle(bundles, "2", weight=0.02)
                eventually(lambda: served_by(server).version == "2", "the next version")

        with pytest.raises(ChangedError, match="now serves churn version 2, and the run began with 1"):
            run(task, source, identity, LocalEngine(1), progress=change)
    assert len([name for name in files_in(tmp_path / "out") if name.startswith("part-")]) == 1
