"""The parts of the dress rehearsal that hold or load what others have made; ./dev e2e plays it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psutil
import pyarrow as pa
import pytest

from services.client.security import UNSECURED
from tests.rehearsal.callers import ONE, STREAM, TABLE, Callers
from tests.rehearsal.processes import Daemon, JobError, Jobs, running
from tests.support.bundles import release_bundle
from tests.support.polling import eventually
from tests.support.server import running as serving

if TYPE_CHECKING:
    from pathlib import Path

CUSTOMERS = pa.table(
    {
        "customer_id": [f"c{number}" for number in range(60)],
        "recency_days": [float(number) for number in range(60)],
        "frequency": [None, *[2.0] * 59],
        "channel": [None, *["web"] * 59],
    }
)


def test_callers_ask_in_every_way_and_keep_what_failed(tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    began = time.time()
    with serving(tmp_path, grace_seconds=0.1) as server:
        callers = Callers({"churn": (f"127.0.0.1:{server.port}", UNSECURED)}, CUSTOMERS)
        with callers.calling():
            eventually(lambda: set(callers.answered) == {ONE, TABLE, STREAM}, "answers of every sort")
            with callers.without("churn"):
                before = callers.answered
                time.sleep(0.2)
                assert callers.answered == before
            eventually(lambda: callers.answered.total() > before.total(), "calls after the rest")
            assert not callers.failures_since(began)
            server.process.kill()
            failures = eventually(lambda: callers.failures_since(began) or None, "a failed call")
    assert (failures[0].model, callers.by_model["churn"].heard) == ("churn", ["1"])


def test_a_daemon_that_ends_leaves_no_process(tmp_path: Path) -> None:
    words = ("serve", "churn", "--bundles", str(tmp_path), "--port", "0", "--workers", "2")
    with running(Daemon(words, tmp_path / "log")) as daemon:
        workers = eventually(lambda: daemon.children() if len(daemon.children()) == 2 else None, "two workers")
        daemon.require_running()
    assert daemon.process is None
    assert not any(psutil.pid_exists(worker.pid) and worker.is_running() for worker in workers)


def test_a_daemon_that_has_ended_by_itself_says_why(tmp_path: Path) -> None:
    with running(Daemon(("serve", "nothing"), tmp_path / "log")) as daemon:
        assert daemon.process is not None
        daemon.process.wait()
        with pytest.raises(JobError, match="invalid choice"):
            daemon.require_running()


def test_a_job_that_fails_says_with_what_status_and_why(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"status 2: .*(?s:.*)invalid choice"):
        Jobs().run(tmp_path / "log", "train", "nothing")
    assert "usage" in Jobs().run(tmp_path / "log", "--help")


def test_a_job_that_fails_ends_those_beside_it(tmp_path: Path) -> None:
    jobs, ended = Jobs(), threading.Event()

    def long() -> None:
        try:
            jobs.run(tmp_path / "long", "serve", "churn", "--bundles", str(tmp_path), "--port", "0")
        finally:
            ended.set()

    def wrong() -> None:
        eventually((tmp_path / "long").exists, "the other job")
        jobs.run(tmp_path / "wrong", "train", "nothing")

    with pytest.raises(JobError):
        jobs.together(wrong, long)
    assert ended.is_set()
    with pytest.raises(JobError, match="over"):
        jobs.run(tmp_path / "late", "--help")
