"""Where trainings leave their traces: a port, and MLflow behind it."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from features.project import TRACKING_VARIABLE
from model_registry.mlflow_registry import GRADE_TAG, SQLITE, database_folder, explained, open_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec

    from model_registry.columns import Columns
    from model_registry.schema import Schema

LOGGED_MODEL = "model"
SERVING_REQUIREMENTS = ["onnxruntime", "numpy"]
"""Stated, because MLflow takes eight seconds to infer them."""

LONGEST_DIGEST = 36
"""MLflow keeps no more of a dataset's digest; the whole one is a tag."""


@dataclass(frozen=True)
class RunRecord:
    """What a finished training leaves behind.

    `folder` holds the artifacts as they are to lie in the run: bundle, evidence, plots, model card. `example` are a
    few customers.
    """

    parameters: Mapping[str, float | int | str]
    metrics: Mapping[str, float]
    grade: str
    dataset_digest: str
    folder: Path
    model: bytes
    schema: Schema
    example: Columns


class Tracker(Protocol):
    """Every method raises RegistryError."""

    def start(self, name: str) -> str:
        """Opens a run of the model `name` and returns its id."""

    def finish(self, run_id: str, record: RunRecord) -> None:
        """Writes the record and closes the run."""

    def abandon(self, run_id: str, reason: str) -> None:
        """Closes the run as failed."""


class MlflowTracker:
    """Implements `Tracker`: one experiment a model; artifacts lie beside a database file, or where a server says."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._client: MlflowClient = open_client(tracking_uri)

    def start(self, name: str) -> str:
        with explained(f"open a run of {name}", self._uri):
            run = self._client.create_run(self._experiment(name), run_name=f"train {name}")
            return str(run.info.run_id)

    def finish(self, run_id: str, record: RunRecord) -> None:
        with explained(f"log run {run_id}", self._uri):
            self._log_figures(run_id, record)
            self._client.log_artifacts(run_id, str(record.folder))
            self._log_model(run_id, record)
            self._client.set_terminated(run_id, "FINISHED")

    def abandon(self, run_id: str, reason: str) -> None:
        with explained(f"close run {run_id}", self._uri):
            self._client.set_tag(run_id, "regulars.failure", reason)
            self._client.set_terminated(run_id, "FAILED")

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # Beside the database, not in the folder that the command happened to start in.
        is_file = self._uri.startswith(SQLITE)
        location = (database_folder(self._uri) / "artifacts" / name).as_uri() if is_file else None
        return str(self._client.create_experiment(name, artifact_location=location))

    def _log_figures(self, run_id: str, record: RunRecord) -> None:
        for name, value in record.parameters.items():
            self._client.log_param(run_id, name, value)
        for name, figure in record.metrics.items():
            self._client.log_metric(run_id, re.sub(r"[^\w ./-]", "_", name), figure)
        self._client.set_tag(run_id, GRADE_TAG, record.grade)
        self._log_dataset(run_id, record.dataset_digest)

    def _log_dataset(self, run_id: str, digest: str) -> None:
        from mlflow.entities import Dataset, DatasetInput  # noqa: PLC0415 - see open_client

        dataset = Dataset("snapshots", digest[:LONGEST_DIGEST], source_type="regulars", source="{}")
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset)])
        self._client.set_tag(run_id, "regulars.dataset_digest", digest)

    def _log_model(self, run_id: str, record: RunRecord) -> None:
        import mlflow.onnx  # noqa: PLC0415 - as above
        import onnx  # noqa: PLC0415 - as above

        feed = {"numeric": record.example.numeric}
        if record.schema.categorical:
            feed["categorical"] = record.example.categorical.astype(str)
        with _tracking_at(self._uri), mlflow.start_run(run_id=run_id):
            mlflow.onnx.log_model(
                onnx.load_from_string(record.model),
                name=LOGGED_MODEL,
                signature=_signature(record.schema),
                input_example=feed,
                pip_requirements=SERVING_REQUIREMENTS,
                save_as_external_data=False,
                onnx_execution_providers=["CPUExecutionProvider"],
            )


@contextmanager
def _tracking_at(uri: str) -> Iterator[None]:
    """MLflow logs models to a global place, which it also writes into the environment; this takes that back."""
    import mlflow  # noqa: PLC0415 - see open_client

    before = os.environ.get(TRACKING_VARIABLE)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(TRACKING_VARIABLE, None)
        else:
            os.environ[TRACKING_VARIABLE] = before


def _signature(schema: Schema) -> ModelSignature:
    import numpy as np  # noqa: PLC0415 - as below
    from mlflow.models import ModelSignature  # noqa: PLC0415 - see open_client
    from mlflow.types import Schema as Tensors  # noqa: PLC0415 - as above
    from mlflow.types import TensorSpec  # noqa: PLC0415 - as above

    inputs: list[ColSpec | TensorSpec] = [TensorSpec(np.dtype(np.float32), (-1, len(schema.numeric)), "numeric")]
    if schema.categorical:
        inputs.append(TensorSpec(np.dtype(str), (-1, len(schema.categorical)), "categorical"))
    outputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (-1, 1), output.name) for output in schema.outputs
    ]
    return ModelSignature(Tensors(inputs), Tensors(outputs))
