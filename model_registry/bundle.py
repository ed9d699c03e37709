"""The bundle: the contract between training and everything after it.

A folder that is data and nothing else: `model.onnx`, `manifest.json`, `golden.json` (customers with their expected
scores) and `SHA256SUMS`. Its digest, the SHA-256 of `SHA256SUMS`, names it everywhere.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model_registry.columns import Columns
from model_registry.graph_guard import GraphError, check_graph
from model_registry.schema import Schema

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.json"
SUMS_FILE = "SHA256SUMS"
CONTENTS = (GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE)

LARGEST_BYTES = {MODEL_FILE: 2**28, MANIFEST_FILE: 2**24, GOLDEN_FILE: 2**24, SUMS_FILE: 2**12}
"""No honest bundle comes near; a larger file would only fill the memory of whoever reads it."""


class BundleError(Exception):
    """A folder that is no bundle, or no longer the bundle that was written."""


@dataclass(frozen=True)
class TrainingWindow:
    """Snapshot dates (ISO 8601) of the training data; empty where there is no time axis."""

    first_snapshot: str = ""
    last_snapshot: str = ""
    test_snapshot: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    `name` is the model (churn …), `run_id` the MLflow run that wrote it, `trained_at` RFC 3339 in UTC,
    `metrics` the figures on the test snapshot, `dataset_digest` and `code_digest` SHA-256. `constants` are figures
    that hold for every customer and that the model's service answers with: the level of an interval.
    """

    name: str
    schema: Schema
    horizon_days: int
    training_window: TrainingWindow
    metrics: dict[str, float]
    run_id: str
    trained_at: str
    dataset_digest: str
    code_digest: str
    constants: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "schema": self.schema.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Manifest:
        """The inverse of `to_json`; raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            **{
                **data,
                "schema": Schema.from_json(data["schema"]),
                "training_window": TrainingWindow(**data["training_window"]),
            }
        )


@dataclass(frozen=True)
class Golden:
    """Customers and the scores that this bundle gave them when it was written.

    `expected` holds float32 arrays by output name, before population rules.
    """

    columns: Columns
    expected: dict[str, np.ndarray[Any, np.dtype[np.float32]]]

    def to_json(self) -> dict[str, Any]:
        return {
            "numeric": [[_json_number(value) for value in row] for row in self.columns.numeric.tolist()],
            "categorical": self.columns.categorical.tolist(),
            "expected": {name: values.tolist() for name, values in self.expected.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], schema: Schema) -> Golden:
        """The inverse of `to_json`; raises KeyError, TypeError or ValueError on anything else."""
        rows = len(data["numeric"])
        numeric = np.array(
            [[np.nan if value is None else value for value in row] for row in data["numeric"]],
            dtype=np.float32,
        ).reshape(rows, len(schema.numeric))
        categorical = np.array(data["categorical"], dtype=object).reshape(rows, len(schema.categorical))
        expected = {output.name: np.array(data["expected"][output.name], dtype=np.float32) for output in schema.outputs}
        return cls(Columns(numeric, categorical), expected)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory."""

    manifest: Manifest
    model: bytes
    golden: Golden
    digest: str


def write_bundle(folder: Path, manifest: Manifest, model: bytes, golden: Golden) -> str:
    """Writes a bundle and returns its digest; `folder` appears whole or not at all.

    Raises:
        FileExistsError: `folder` is there already.
        GraphError: the graph is not self-contained.
    """
    check_graph(model)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; a bundle is never overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".bundle-", dir=folder.parent))
    try:
        (draft / MODEL_FILE).write_bytes(model)
        (draft / MANIFEST_FILE).write_text(json.dumps(manifest.to_json(), indent=1, allow_nan=False) + "\n")
        (draft / GOLDEN_FILE).write_text(json.dumps(golden.to_json(), allow_nan=False) + "\n")
        sums = "".join(f"{_sha256((draft / name).read_bytes())}  {name}\n" for name in CONTENTS)
        (draft / SUMS_FILE).write_text(sums)
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return _sha256(sums.encode())


def read_bundle(folder: Path) -> Bundle:
    """Reads and verifies a bundle: every checksum and no other, a self-contained graph. Other files are not read.

    Raises:
        BundleError: with what is wrong and what to do.
    """
    files = {name: _read_file(folder, name) for name in (*CONTENTS, SUMS_FILE)}
    _verify_sums(folder, files)
    try:
        check_graph(files[MODEL_FILE])
        manifest = Manifest.from_json(json.loads(files[MANIFEST_FILE]))
        golden = Golden.from_json(json.loads(files[GOLDEN_FILE]), manifest.schema)
    except GraphError as error:
        raise BundleError(f"{folder / MODEL_FILE}: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"{folder}: its manifest or golden rows are not of the form this version reads; sync it again or retrain"
        ) from error
    return Bundle(manifest, files[MODEL_FILE], golden, _sha256(files[SUMS_FILE]))


def read_regular(path: Path, largest: int) -> bytes:
    """The content of a file that is one, and no more of it than `largest` bytes and another.

    Raises:
        OSError: it cannot be read, or it is a link, which could lead anywhere, or a pipe, which could wait for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(largest + 1)
    finally:
        os.close(descriptor)


def why_unreadable(error: OSError) -> str:
    """What was the matter with `read_regular`, and what to do about it."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"({error.strerror}); let uid {os.getuid()} read it"
    reason = "a link" if error.errno == errno.ELOOP else error.strerror
    return f"({reason}); sync the bundle again"


def _read_file(folder: Path, name: str) -> bytes:
    try:
        content = read_regular(folder / name, LARGEST_BYTES[name])
    except OSError as error:
        raise BundleError(f"{folder}: cannot read {name} {why_unreadable(error)}") from error
    if len(content) > LARGEST_BYTES[name]:
        raise BundleError(f"{folder}: {name} holds more than {LARGEST_BYTES[name]:,} bytes; train a smaller model")
    return content


def _verify_sums(folder: Path, files: dict[str, bytes]) -> None:
    expected = "".join(f"{_sha256(files[name])}  {name}\n" for name in CONTENTS)
    if files[SUMS_FILE] != expected.encode():
        stated = files[SUMS_FILE].decode(errors="replace").splitlines()
        wrong = [name for name in CONTENTS if f"{_sha256(files[name])}  {name}" not in stated]
        what = ", ".join(wrong) or SUMS_FILE
        raise BundleError(f"{folder}: checksum mismatch in {what}; sync the bundle again")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json_number(value: float) -> float | None:
    return None if np.isnan(value) else value
