"""The jobs images train, promote, sync, score and keep a registry, as a restricted pod would."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from services.client import ChurnClient
from tests.support.images import hand_over
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.scoring import awkward_customers, files_in, release_samples
from tests.support.tracking import START_SECONDS, free_port

if TYPE_CHECKING:
    from tests.support.images import Image
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.images

SHOP = Path("/shop")
PROJECT = SHOP / "regulars.toml"
BUNDLES = SHOP / "bundles"
AS_OF = "2024-05-01"


def test_what_the_jobs_make_is_what_the_server_serves(jobs: Image, serving: Image, shop: Path) -> None:
    def regulars(*words: object) -> str:
        return jobs(*words, "--project", PROJECT, mounts={SHOP: shop})

    regulars("train", "churn", "--as-of", AS_OF)
    regulars("promote", "churn")
    regulars("sync", "churn@champion", "--to", BUNDLES)
    regulars("score", "churn", "--as-of", AS_OF, "--output", SHOP / "scores", "--bundles", BUNDLES)
    scores = pq.read_table(shop / "scores")
    assert set(scores.column("churn_status").to_pylist()) == {"OK", "INACTIVE"}

    words = ("serve", "churn", "--bundles", BUNDLES, "--port", 0)
    with serving.running(*words, mounts={SHOP: shop}) as server:
        server.wait_for("serving")
        with ChurnClient(f"127.0.0.1:{server.port}") as client:
            assert client.get_model().model_version.version == "1"


def test_an_mlflow_server_needs_no_more_than_its_database_and_tmp(jobs: Image, shop: Path) -> None:
    port = free_port()
    words = ("mlflow", "--project", PROJECT, "--port", port)
    with jobs.running(*words, mounts={SHOP: shop}) as server:
        eventually(lambda: answers(server, port), "MLflow to answer", START_SECONDS)
        server.terminate()
        assert server.wait() == 0


def answers(server: ServerProcess, port: int) -> bool:
    assert server.process.poll() is None, server.text()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_spark_scores_what_processes_score(jobs_spark: Image, tmp_path: Path) -> None:
    work = Path("/work")
    release_samples(tmp_path / "bundles")
    pq.write_table(awkward_customers(), tmp_path / "customers.parquet")
    hand_over(tmp_path)
    for engine in ("local", "spark"):
        words = ("--input", work / "customers.parquet", "--bundles", work / "bundles", "--output", work / engine)
        jobs_spark("score", "churn", *words, "--engine", engine, mounts={work: tmp_path})
    assert files_in(tmp_path / "spark") == files_in(tmp_path / "local")
