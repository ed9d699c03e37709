"""What callers ask of each model, and the very answers that each version owes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from model_registry.bundle import Bundle, Golden, read_bundle, write_bundle
from model_registry.release import Release, bundle_folder
from model_registry.servable import Servable
from services.client import load_client
from services.core.service import load_service
from services.methods import Method, Methods, methods_of
from services.wire import move_ids
from tests.support.bundles import SAMPLES, forest_graph, golden, manifest, random_columns, release_draft
from tests.support.calls import customer_of, table_of

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from google.protobuf.message import Message

    from model_registry.columns import Columns

TREES, DEPTH = 300, 5
"""A forest of a trained model's size: 300 trees of up to 32 leaves."""


def release_forest(bundles: Path, version: str, seed: int = 0, trees: int = TREES) -> Release:
    """Releases a churn model of a trained one's size; another `seed` is another model."""
    model = forest_graph(trees, DEPTH, seed).SerializeToString()
    return _release(bundles, version, Bundle(manifest(), model, golden(), ""))


def release_variant(bundles: Path, model: str, version: str, absent: float) -> Release:
    """Releases a model's sample with `absent` in the place of what is missing; another number is another model."""
    sample = SAMPLES[model]
    graph = sample.graph()
    _constant(graph, "zero").float_data[:] = [absent]
    return _release(bundles, version, Bundle(sample.manifest(), graph.SerializeToString(), golden(), ""))


def _constant(graph: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in graph.graph.initializer if tensor.name == name)


def _release(bundles: Path, version: str, bare: Bundle) -> Release:
    """Writes the bundle with its own scores as its golden ones, and releases it as `regulars sync` would."""
    rows = bare.golden.columns
    outputs = [output.name for output in bare.manifest.schema.outputs]
    expected = dict(zip(outputs, Servable(bare).run(rows), strict=True))
    name = bare.manifest.name
    draft = bundles / name / f".draft-{version}"
    write_bundle(draft, bare.manifest, bare.model, Golden(rows, expected))
    return release_draft(bundles, version, draft, read_bundle(draft), name)


def customers(rows: int, seed: int = 5) -> Columns:
    """Customers of the population, half of whom miss what may be missing."""
    made = random_columns(rows, seed)
    made.numeric[:, 0] = np.clip(made.numeric[:, 0], 0, 90)
    made.numeric[::2, 1] = np.nan
    return made


@dataclass(frozen=True)
class Asked:
    """A model's methods, and messages that ask for each of the same customers, one by one and as a table."""

    model: str
    columns: Columns

    @cached_property
    def service(self) -> str:
        return load_client(self.model).SERVICE

    @cached_property
    def methods(self) -> Methods:
        return methods_of(self.service)

    @cached_property
    def rows(self) -> list[bytes]:
        one = self.methods.one
        return [
            one.request(customer=customer_of(self.columns, row)).SerializeToString() for row in range(len(self.columns))
        ]

    @cached_property
    def table(self) -> bytes:
        return self.methods.batch.request(customers=table_of(self.columns)).SerializeToString()

    def stream_table(self, sequence: int = 0) -> bytes:
        return self.methods.stream.request(sequence=sequence, customers=table_of(self.columns)).SerializeToString()

    def owed(self, bundles: Path, release: Release) -> Owed:
        bundle = read_bundle(bundle_folder(bundles, self.model, release.digest))
        servable, answers = Servable(bundle), load_service(self.model).Answers(bundle.manifest)
        rows = []
        for row in range(len(self.columns)):
            answer = _empty(self.methods.one)
            answers.fill_row(answer, f"c{row}", servable.score_one(self.columns.slice(row, row + 1)))
            rows.append(_bytes(answer))
        table = _empty(self.methods.batch)
        move_ids(table_of(self.columns), table)
        answers.fill_table(table, servable.score(self.columns))
        return Owed(rows, _bytes(table))


@dataclass(frozen=True)
class Owed:
    """One version's answers, scored offline: what a server that serves it must say, to the last bit."""

    rows: list[bytes]
    table: bytes


def said(method: Method, message: bytes) -> tuple[str, bytes]:
    """The version that answered, and its answer as `Owed` has it."""
    response = method.response.FromString(message)
    version: str = response.model_version.version  # type: ignore[attr-defined]  # every response has it
    return version, _bytes(getattr(response, method.answer))


def _empty(method: Method) -> Message:
    """An answer of that method with nothing in it."""
    answer: Message = getattr(method.response(), method.answer)
    return type(answer)()


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)
