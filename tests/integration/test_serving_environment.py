"""A server needs the serving requirements and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.bundles import columns, probability, release_bundle
from tests.support.calls import predict
from tests.support.server import REPOSITORY, running

FOREIGN = (
    "duckdb",
    "ibis",
    "lightgbm",
    "matplotlib",
    "mlflow",
    "onnx",
    "onnxmltools",
    "pandas",
    "pyarrow",
    "pyspark",
    "scipy",
    "skl2onnx",
    "sklearn",
    "sqlglot",
)
OURS_BUT_NOT_HERE = ("audits", "features", "training", "cli", "model_registry.mlflow_registry", "model_registry.frame")


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter of an environment made from `requirements/serving.txt`."""
    path = Path(os.environ.get("SERVING_PYTHON") or REPOSITORY / ".venv-serving" / "bin" / "python")
    if not path.exists():
        pytest.fail(f"{path} is missing; run './dev setup', which makes the serving environment")
    return str(path)


def run(python: str, program: str) -> object:
    """What the program prints as JSON."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "REGULARS_"))}
    result = subprocess.run(
        [python, "-c", program],
        env={**environment, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'protos'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_nothing_that_training_needs_is_installed(python: str) -> None:
    installed = run(
        python,
        "import importlib.util, json; "
        f"print(json.dumps([name for name in {FOREIGN} if importlib.util.find_spec(name)]))",
    )
    assert installed == []


def test_a_server_and_its_client_load_nothing_that_training_needs(python: str) -> None:
    loaded = run(
        python,
        "import json, sys, services.core.server, services.core.workers, services.churn.servicer, services.client; "
        "print(json.dumps(sorted(sys.modules)))",
    )
    assert isinstance(loaded, list)
    assert "onnxruntime" in loaded
    assert "services.core.manager" in loaded
    assert [name for name in loaded if name.split(".")[0] in FOREIGN] == []
    assert [name for name in loaded if name.startswith(OURS_BUT_NOT_HERE)] == []


def test_a_server_starts_there_and_answers(python: str, tmp_path: Path) -> None:
    release_bundle(tmp_path, "1")
    with running(tmp_path, python=python) as server, server.channel() as channel:
        answer = predict(channel, columns((10, 1, "web")))
        assert answer.prediction.churn_probability == pytest.approx(probability(10, 1, "web"))
        server.terminate()
        assert server.wait() == 0
