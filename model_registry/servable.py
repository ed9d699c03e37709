"""The one scoring code of the suite: parity tests, audits, servers and batch jobs all run it over a bundle.

A graph takes `numeric`, float32 (N, numeric features), and, if the schema has categorical features,
`categorical`, strings (N, categorical features). It returns one float32 tensor (N,) or (N, 1) for each output.

Law: the same customer gets the same bits however many others are scored beside it. One thread makes ONNX Runtime
sum the trees in one order.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

# Before the first import: the runtime reads it once.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

from model_registry.bundle import Bundle, BundleError
from model_registry.columns import Columns, Score, Scores
from model_registry.ordering import LEAST_ROWS, ordering_of
from model_registry.readings import Population, Ranges, Reading, ScoringError
from model_registry.schema import Schema, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model_registry.ordering import Ordering

GOLDEN_TOLERANCE = 1e-5
"""Largest deviation, absolute and relative, of a replayed golden score: processors differ in the last bits."""

REPLAY_SECONDS = 5.0
"""What a bundle may take for its golden rows. Its own are some fifty, and take milliseconds; promotion is stricter."""

SLICE_ROWS = 1000
"""Rows scored at once. Larger slices gain nothing and hold a core for longer."""

PART_ROWS = 250
"""Rows in one run of the graph: a millisecond or two, for which a call for one customer may have to wait. Of a table
that is sorted as a whole, four parts take as long as the whole."""


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
        self._ordering = _ordering(self._session, self.schema)
        self._output_names = [output.name for output in self.schema.outputs]
        self._ranges = Ranges(self.schema)
        self._population = Population(self.schema)
        self._readings = [Reading(output) for output in self.schema.outputs]

    def score(self, columns: Columns) -> Scores:
        """Scores customers in slices of `SLICE_ROWS`.

        Raises:
            ScoringError: the graph failed, or a customer of the population got no finite score.
        """
        if len(columns) <= SLICE_ROWS:
            return self.score_slice(columns)
        starts = range(0, len(columns), SLICE_ROWS)
        return Scores.concatenate([self.score_slice(columns.slice(at, at + SLICE_ROWS)) for at in starts])

    def score_one(self, columns: Columns, raw: Sequence[NDArray[np.float32]] | None = None) -> Score:
        """Scores a single customer, the only one of `columns`; raises like `score`.

        The same bits as `score`, read off in plain Python: around one customer the arrays' own cost is four times
        that of the graph. `raw` is what `run` says of the customer, (1,) for each output, where that is known already.
        """
        numbers = columns.numeric[0].tolist()
        status = self._population.status(numbers)
        warnings = self._ranges.warnings_of_one(numbers, columns.categorical[0])
        if status != Status.OK:
            return Score(status, {}, {}, {}, warnings)
        values: dict[str, float] = {}
        percentiles: dict[str, float] = {}
        bands: dict[str, int] = {}
        for reading, value in zip(self._readings, raw or self.run(columns), strict=True):
            name = reading.name
            values[name], percentiles[name], bands[name] = reading.read_one(value.item())
        return Score(status, values, percentiles, bands, warnings)

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

    def run(self, columns: Columns, options: ort.RunOptions | None = None) -> list[NDArray[np.float32]]:
        """Runs the bare graph: one array (N,) for each output, population rules not applied.

        `options` are the runtime's, by which another thread may end the run.

        Raises:
            ScoringError: the graph failed.
        """
        if self._ordering is None or len(columns) < LEAST_ROWS:
            return self._run_in_parts(columns, options)
        order = self._ordering.of(columns.numeric)
        results = self._run_in_parts(columns.take(order), options)
        # Where each customer stands among the sorted ones.
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return [result[places] for result in results]

    def _run_in_parts(self, columns: Columns, options: ort.RunOptions | None) -> list[NDArray[np.float32]]:
        """In the order of the rows; between parts whoever waits for the core may have it."""
        parts = [self._run(columns.slice(0, PART_ROWS), options)]
        for start in range(PART_ROWS, len(columns), PART_ROWS):
            os.sched_yield()
            parts.append(self._run(columns.slice(start, start + PART_ROWS), options))
        return parts[0] if len(parts) == 1 else [np.concatenate(results) for results in zip(*parts, strict=True)]

    def _run(self, columns: Columns, options: ort.RunOptions | None) -> list[NDArray[np.float32]]:
        feed: dict[str, NDArray[Any]] = {"numeric": columns.numeric}
        if self.schema.categorical:
            feed["categorical"] = columns.categorical
        try:
            results = self._session.run(self._output_names, feed, options)
        except Exception as error:
            raise ScoringError("the graph failed on these customers") from error
        return [result.reshape(-1) for result in results]

    def replay(self) -> None:
        """Scores the golden rows and compares them with what the bundle expects; this also warms the graph up.

        Raises:
            BundleError: the first output that deviates by more than `GOLDEN_TOLERANCE`, or the graph takes longer than
                `REPLAY_SECONDS`.
        """
        rows = len(self._golden.columns)
        if not rows:
            raise BundleError("the bundle has no golden rows to check its graph by; retrain")
        options = ort.RunOptions()
        patience = threading.Timer(REPLAY_SECONDS, setattr, (options, "terminate", True))
        patience.start()
        try:
            replayed = self.run(self._golden.columns, options)
        except ScoringError as error:
            if options.terminate:
                slow = f"the graph takes more than {REPLAY_SECONDS:g} s for {rows} golden rows; train a smaller model"
                raise BundleError(slow) from error
            raise BundleError("the graph fails on the bundle's golden rows; retrain") from error
        finally:
            patience.cancel()
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
    # The guard has read ONNX; the runtime must not find another format in the same bytes.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError("the runtime refuses the bundle's graph; retrain") from error
    if not _fits(session, bundle.manifest.schema):
        raise BundleError("the bundle's graph does not fit its schema; retrain")
    return session


def _ordering(session: ort.InferenceSession, schema: Schema) -> Ordering | None:
    try:
        return ordering_of(session.get_modelmeta().custom_metadata_map, len(schema.numeric))
    except ValueError as error:
        raise BundleError("the bundle's graph does not say how to sort its customers; retrain") from error


def _fits(session: ort.InferenceSession, schema: Schema) -> bool:
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node.type for node in session.get_outputs()}
    wanted = {"numeric"} | ({"categorical"} if schema.categorical else set())
    return (
        inputs.keys() == wanted
        and _takes(inputs["numeric"], "tensor(float)", len(schema.numeric))
        and (not schema.categorical or _takes(inputs["categorical"], "tensor(string)", len(schema.categorical)))
        and all(outputs.get(output.name) == "tensor(float)" for output in schema.outputs)
    )


def _takes(node: ort.NodeArg, kind: str, width: int) -> bool:
    # A width that the graph leaves open is a name or None.
    open_or_fits = not node.shape or not isinstance(node.shape[-1], int) or node.shape[-1] == width
    return bool(node.type == kind and open_or_fits)
