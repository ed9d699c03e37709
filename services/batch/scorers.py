"""Who scores: a bundle in this process, or a running server. Customers go in and answers come out as columns."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from model_registry.columns import MISSING_CATEGORY, Columns
from model_registry.schema import Band, Distribution, Feature, Output, Schema
from model_registry.servable import Servable
from regulars.scoring.v1 import scoring_pb2
from services.batch.errors import BatchError, ChangedError, InputError
from services.client import CallError, Security, customer_table, load_client
from services.client.security import UNSECURED
from services.core.service import load_service
from services.methods import methods_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from model_registry.bundle import Bundle
    from regulars.scoring.v1.scoring_pb2 import CustomerTable, ModelVersion
    from services.client import AnyClient

Answers = dict[str, "NDArray[Any]"]
"""Columns by name: `status`, then what the model says, one entry a customer."""

BUNDLE_ROWS = 20_000
"""Rows that a bundle scores in one run of its graph. A server's are shorter, lest others wait for the core; a job's
cost a tenth less for it, and the bits are the same."""

SERVER_ROWS = 2_000
"""Rows of a table for a server, if it takes as many. In larger ones both sides wait longer for each other."""

SERVER_BYTES = 4 * 2**20
"""Of a message, for a server that does not say what it takes: gRPC's own limit."""

ENVELOPE_BYTES = 64
"""Around the table of a message."""


class TableRefusedError(BatchError):
    """The server refused a table. Says with which customer it starts, and why."""


class Scorer(Protocol):
    """Scores customers with one version of one model."""

    @property
    def schema(self) -> Schema: ...

    def score(self, ids: Sequence[str], columns: Columns) -> Iterator[Answers]:
        """The answers to N customers, in consecutive parts; `ids` (N,) are for the server's eyes."""

    def nobody(self) -> Answers:
        """The answers to no customer at all: the columns and their types."""


class Model(Protocol):
    """A version of a model that a run scores with, not yet loaded. Travels to other processes."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def schema(self) -> Schema: ...

    def opened(self) -> AbstractContextManager[Scorer]:
        """Loads it, or connects to it.

        Raises:
            BundleError, SecurityError: it cannot be had.
        """


@dataclass(frozen=True)
class BundleModel:
    """A bundle, which each process loads."""

    bundle: Bundle = field(repr=False)
    version: str

    @property
    def name(self) -> str:
        return self.bundle.manifest.name

    @property
    def digest(self) -> str:
        return self.bundle.digest

    @property
    def schema(self) -> Schema:
        return self.bundle.manifest.schema

    @contextmanager
    def opened(self) -> Iterator[Scorer]:
        yield _BundleScorer(self.bundle)


@dataclass(frozen=True)
class ServerModel:
    """What a server serves now. Each process has a connection of its own.

    `most_rows` and `most_bytes` are what it takes in one message.
    """

    name: str
    version: str
    digest: str
    schema: Schema
    target: str
    security: Security = UNSECURED
    most_rows: int = SERVER_ROWS
    most_bytes: int = SERVER_BYTES

    @classmethod
    def at(cls, name: str, target: str, security: Security = UNSECURED) -> ServerModel:
        """Asks the server.

        Raises:
            CallError, SecurityError: it cannot be asked.
            InputError: it serves another model.
        """
        with load_client(name)(target, security) as client:
            served = client.get_model()
        version = served.model_version
        if version.name != name:
            raise InputError(f"the server at {target} serves {version.name}, not {name}; give the port of {name}")
        return cls(
            name=name,
            version=version.version,
            digest=version.bundle_digest,
            schema=_schema(served.model),
            target=target,
            security=security,
            # Servers of earlier releases do not say.
            most_rows=min(served.limits.max_rows or SERVER_ROWS, SERVER_ROWS),
            most_bytes=served.limits.max_message_bytes or SERVER_BYTES,
        )

    @contextmanager
    def opened(self) -> Iterator[Scorer]:
        with load_client(self.name)(self.target, self.security) as client:
            yield _ServerScorer(self, client)


class _BundleScorer:
    def __init__(self, bundle: Bundle) -> None:
        name = bundle.manifest.name
        self.schema = bundle.manifest.schema
        self._golden = bundle.golden.columns
        self._servable = Servable(bundle)
        # What a server does before it serves.
        self._servable.replay()
        service, self._client = load_service(name), load_client(name)
        self._answers = service.Answers(bundle.manifest)
        self._method = methods_of(service.SERVICE).batch

    def score(self, ids: Sequence[str], columns: Columns) -> Iterator[Answers]:
        """Raises ScoringError: the graph failed."""
        for start in range(0, len(ids), BUNDLE_ROWS):
            # The message that a server would send, so that a file's columns are defined once.
            table = getattr(self._method.response(), self._method.answer)
            self._answers.fill_table(table, self._servable.score_slice(columns.slice(start, start + BUNDLE_ROWS)))
            yield self._client.columns(table)

    def nobody(self) -> Answers:
        (answers,) = self.score([""], self._golden.slice(0, 1))
        return {name: values[:0] for name, values in answers.items()}


class _ServerScorer:
    def __init__(self, model: ServerModel, client: AnyClient) -> None:
        self.schema = model.schema
        self._model = model
        self._client = client

    def score(self, ids: Sequence[str], columns: Columns) -> Iterator[Answers]:
        """Raises CallError, TableRefusedError, and ChangedError when the server serves another version."""
        sent: deque[str] = deque()

        def tables() -> Iterator[CustomerTable]:
            for table in self._tables(ids, columns):
                sent.append(table.ids[0])
                yield table

        for response in self._client.stream_predict(tables()):
            first = sent.popleft()
            result = response.WhichOneof("result")
            if result == "error":
                error = CallError.from_status(response.error)
                raise TableRefusedError(f"the table that starts with customer_id {first!r} was refused: {error}")
            self._require_same(response.model_version)
            yield self._client.columns(getattr(response, result))

    def _tables(self, ids: Sequence[str], columns: Columns) -> Iterator[CustomerTable]:
        for start in range(0, len(ids), self._model.most_rows):
            stop = start + self._model.most_rows
            yield from self._fitting(ids[start:stop], columns.slice(start, stop))

    def _fitting(self, ids: Sequence[str], columns: Columns) -> Iterator[CustomerTable]:
        """As one table, or in halves until each is small enough for a message."""
        table = _table(ids, columns, self.schema)
        if len(ids) == 1 or table.ByteSize() + ENVELOPE_BYTES <= self._model.most_bytes:
            yield table
            return
        half = len(ids) // 2
        yield from self._fitting(ids[:half], columns.slice(0, half))
        yield from self._fitting(ids[half:], columns.slice(half, len(ids)))

    def nobody(self) -> Answers:
        """Asks for somebody made up, for a server does not answer to an empty table."""
        made_up = Columns(
            np.zeros((1, len(self.schema.numeric)), np.float32), np.full((1, len(self.schema.categorical)), "-", object)
        )
        (answers,) = self.score(["nobody"], made_up)
        return {name: values[:0] for name, values in answers.items()}

    def _require_same(self, answered: ModelVersion) -> None:
        if answered.bundle_digest != self._model.digest:
            raise ChangedError(
                f"the server at {self._model.target} now serves {self._model.name} version {answered.version}, and "
                f"the run began with {self._model.version}; run it again with --restart"
            )


def _table(ids: Sequence[str], columns: Columns, schema: Schema) -> CustomerTable:
    return customer_table(
        ids,
        {feature.name: columns.numeric[:, at] for at, feature in enumerate(schema.numeric)},
        {
            feature.name: [None if text == MISSING_CATEGORY else text for text in columns.categorical[:, at]]
            for at, feature in enumerate(schema.categorical)
        },
    )


def _schema(served: scoring_pb2.Model) -> Schema:
    """What the columns of a request must be, and how the answers were spread when the model was tested."""
    kinds: Mapping[int, Any] = {
        scoring_pb2.FEATURE_KIND_NUMERIC: "numeric",
        scoring_pb2.FEATURE_KIND_CATEGORICAL: "categorical",
    }
    return Schema(
        features=tuple(Feature(entry.name, kinds[entry.kind], nullable=entry.nullable) for entry in served.inputs),
        outputs=tuple(
            Output(
                entry.name,
                entry.unit,
                bands=tuple(Band(band.name, band.threshold) for band in entry.bands),
                category=entry.category,
                distribution=_distribution(entry.distribution) if entry.HasField("distribution") else None,
            )
            for entry in served.outputs
        ),
    )


def _distribution(told: scoring_pb2.Distribution) -> Distribution:
    return Distribution(
        tuple(told.edges), tuple(told.shares), missing=told.missing, unseen=0.0, customers=told.customers
    )
