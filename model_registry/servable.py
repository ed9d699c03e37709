"""The one scoring code of the suite: parity tests, audits, servers and batch jobs all run it over a bundle.

A graph takes `numeric`, float32 (N, numeric features), and, if the schema has categorical features,
`categorical`, strings (N, categorical features). It returns one float32 tensor (N,) or (N, 1) for each output.

Law: the same customer gets the same bits however many others are scored beside it. One thread makes ONNX Runtime
sum the trees in one order.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

# Before the first import: the runtime reads it once.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from model_registry.bundle import Bundle, BundleError
from model_registry.columns import MISSING_CATEGORY, Columns, ColumnWarning, Scores
from model_registry.schema import Output, Schema, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN_TOLERANCE = 1e-5
"""Largest deviation, absolute and relative, of a replayed golden score: processors differ in the last bits."""

SLICE_ROWS = 1000
"""Rows scored in one run of the graph. Larger slices gain nothing and hold a core for longer."""

_PERCENTS = np.linspace(0.0, 100.0, 101)


class ScoringError(Exception):
    """The graph failed or returned a score that is not finite. Its text names no customer and no value."""


class Servable:
    """A bundle, loaded and ready to score. Safe to share between threads."""

    def __init__(self, bundle: Bundle) -> None:
        """Loads the graph.

        Raises:
            BundleError: the runtime refuses the graph, or it does not fit the bundle's schema.
        """
        self.manifest = bundle.manifest
        self.schema: Schema = bundle.manifest.schema
        self.digest = bundle.digest
        self._golden = bundle.golden
        self._session = _open_session(bundle)
        self._output_names = [output.name for output in self.schema.outputs]
        self._ranges = _Ranges(self.schema)
        self._population = _Population(self.schema)
        self._readings = [_Reading(output) for output in self.schema.outputs]

    def score(self, columns: Columns) -> Scores:
        """Scores customers in slices of `SLICE_ROWS`.

        Raises:
            ScoringError: the graph failed, or a customer of the population got no finite score.
        """
        if len(columns) <= SLICE_ROWS:
            return self.score_slice(columns)
        starts = range(0, len(columns), SLICE_ROWS)
        return Scores.concatenate([self.score_slice(columns.slice(at, at + SLICE_ROWS)) for at in starts])

    def score_slice(self, columns: Columns) -> Scores:
        """Scores customers in one run of the graph; raises like `score`."""
        statuses = self._population.statuses(columns)
        outside = statuses != Status.OK
        values = {}
        percentiles = {}
        bands = {}
        for reading, raw in zip(self._readings, self.run(columns), strict=True):
            name = reading.name
            values[name], percentiles[name], bands[name] = reading.read(raw, outside)
        return Scores(statuses, values, percentiles, bands, self._ranges.warnings(columns))

    def run(self, columns: Columns) -> list[NDArray[np.float32]]:
        """Runs the bare graph: one array (N,) for each output, population rules not applied.

        Raises:
            ScoringError: the graph failed.
        """
        feed: dict[str, NDArray[Any]] = {"numeric": columns.numeric}
        if self.schema.categorical:
            feed["categorical"] = columns.categorical
        try:
            results = self._session.run(self._output_names, feed)
        except Exception as error:
            raise ScoringError("the graph failed on these customers") from error
        return [result.reshape(-1) for result in results]

    def replay(self) -> None:
        """Scores the golden rows and compares them with what the bundle expects; this also warms the graph up.

        Raises:
            BundleError: the first output that deviates by more than `GOLDEN_TOLERANCE`.
        """
        try:
            replayed = self.run(self._golden.columns)
        except ScoringError as error:
            raise BundleError("the graph fails on the bundle's golden rows; retrain") from error
        for name, values in zip(self._output_names, replayed, strict=True):
            expected = self._golden.expected[name]
            if values.shape != expected.shape or not np.allclose(
                values, expected, rtol=GOLDEN_TOLERANCE, atol=GOLDEN_TOLERANCE
            ):
                raise BundleError(f"output {name} does not reproduce the bundle's golden rows; retrain")


def _open_session(bundle: Bundle) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # One thread a request: requests are the parallelism, and one thread keeps the order of sums (the law above).
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # A spinning thread pool burns the core that the server's own threads need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError("the runtime refuses the bundle's graph; retrain") from error
    schema = bundle.manifest.schema
    wanted = {"numeric"} | ({"categorical"} if schema.categorical else set())
    inputs = {node.name for node in session.get_inputs()}
    outputs = {node.name for node in session.get_outputs()}
    if inputs != wanted or not {output.name for output in schema.outputs} <= outputs:
        raise BundleError("the bundle's graph does not fit its schema; retrain")
    return session


class _Ranges:
    """Warns of values that training never saw."""

    def __init__(self, schema: Schema) -> None:
        self._numeric_names = [feature.name for feature in schema.numeric]
        self._low = np.array([_or(feature.minimum, -np.inf) for feature in schema.numeric], np.float32)
        self._high = np.array([_or(feature.maximum, np.inf) for feature in schema.numeric], np.float32)
        self._vocabularies = [
            (feature.name, frozenset((*feature.vocabulary, MISSING_CATEGORY))) for feature in schema.categorical
        ]

    def warnings(self, columns: Columns) -> tuple[ColumnWarning, ...]:
        found = []
        outside = (columns.numeric < self._low) | (columns.numeric > self._high)
        if outside.any():
            for column in np.flatnonzero(outside.any(axis=0)):
                rows = np.flatnonzero(outside[:, column])
                found.append(ColumnWarning("out_of_range", self._numeric_names[column], rows))
        for position, (name, vocabulary) in enumerate(self._vocabularies):
            values = columns.categorical[:, position].tolist()
            if not vocabulary.issuperset(values):
                rows = np.array([row for row, value in enumerate(values) if value not in vocabulary], np.intp)
                found.append(ColumnWarning("unseen_category", name, rows))
        return tuple(found)


class _Population:
    """Decides who is scored."""

    def __init__(self, schema: Schema) -> None:
        positions = {feature.name: at for at, feature in enumerate(schema.numeric)}
        self._rules = [
            (
                positions[rule.feature],
                np.float32(_or(rule.minimum, -np.inf)),
                np.float32(_or(rule.maximum, np.inf)),
                rule.status,
            )
            for rule in schema.population
        ]

    def statuses(self, columns: Columns) -> NDArray[np.uint8]:
        """The first rule that a customer breaks decides; a missing value breaks its rule."""
        statuses = np.full(len(columns), Status.OK, np.uint8)
        for position, low, high, status in reversed(self._rules):
            values = columns.numeric[:, position]
            statuses[~((values >= low) & (values <= high))] = status
        return statuses


class _Reading:
    """Reads percentile and band off an output's values."""

    def __init__(self, output: Output) -> None:
        self.name = output.name
        self._reference = np.array(output.reference, np.float64)
        self._thresholds = np.array([band.threshold for band in output.bands], np.float32)

    def read(
        self, raw: NDArray[np.float32], outside: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int8]]:
        if not np.isfinite(raw).all() and not (np.isfinite(raw) | outside).all():
            raise ScoringError(f"output {self.name} is not finite for a customer of the population")
        values = raw
        percentiles = (
            np.interp(raw, self._reference, _PERCENTS).astype(np.float32)
            if len(self._reference)
            else np.full(len(raw), np.nan, np.float32)
        )
        bands = (np.searchsorted(self._thresholds, raw, side="right") - 1).astype(np.int8)
        if outside.any():
            values = np.where(outside, np.float32(np.nan), raw)
            percentiles[outside] = np.nan
            bands[outside] = -1
        return values, percentiles, bands


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
