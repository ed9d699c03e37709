"""The command scores for every model, here and through a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli import main as command
from tests.support.bundles import SAMPLES
from tests.support.server import running, server_of

if TYPE_CHECKING:
    from pathlib import Path

CUSTOMERS = pa.table(
    {
        "customer_id": ["a", "b"],
        "recency_days": [10.0, 100.0],
        "frequency": [1.0, None],
        "channel": ["web", None],
    }
)


@pytest.mark.parametrize("model", SAMPLES)
def test_every_model_scores_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
    SAMPLES[model].release(tmp_path / "bundles", "1")
    pq.write_table(CUSTOMERS, tmp_path / "customers.parquet")
    words = ["score", model, "--input", str(tmp_path / "customers.parquet"), "--output"]
    assert command.main([*words, str(tmp_path / "here"), "--bundles", str(tmp_path / "bundles")]) == 0
    said = capsys.readouterr().out
    assert "inactive" in said
    assert f"{model} scores" in said
    assert pq.read_table(tmp_path / "here" / "scores.parquet").column("status").to_pylist() == ["OK", "INACTIVE"]


def test_a_server_of_another_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SAMPLES["cltv"].release(tmp_path / "bundles", "1")
    pq.write_table(CUSTOMERS, tmp_path / "customers.parquet")
    words = ["score", "--input", str(tmp_path / "customers.parquet"), "--output", str(tmp_path / "scores")]
    with running(tmp_path / "bundles", command=server_of("cltv")) as server:
        target = ["--target", f"127.0.0.1:{server.port}"]
        assert command.main([*words, *target, "churn"]) == command.EXIT_FAILED
        assert "that server serves cltv, not churn; give the port of churn" in capsys.readouterr().err
        assert command.main([*words, *target, "cltv"]) == 0
    assert pq.read_table(tmp_path / "scores" / "scores.parquet").column("expected_value").to_pylist() == [110.0, None]
