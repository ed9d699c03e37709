"""Where tensors meet columns: customers and scores as the Open Inference Protocol spells them, for one schema.

Each feature is a tensor of its own, and so is each output. Violations name the path in the request and what is wrong,
never the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from model_registry.bundle import BundleError
from model_registry.columns import MISSING_CATEGORY, Columns
from model_registry.schema import Status
from regulars.open_inference.v2 import open_inference_pb2
from services.core.errors import INVALID, Refusal, Violation
from services.core.open_inference_inputs import LENGTH, NUMBERS, TEXT, Inputs, UnfitError
from services.core.violations import MOST_COLUMNS, Requirements, quote
from services.wire import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from model_registry.columns import Scores
    from model_registry.schema import Feature, Output, Schema
    from regulars.open_inference.v2.open_inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse

    InputTensor = ModelInferRequest.InferInputTensor
    RequestedOutput = ModelInferRequest.InferRequestedOutputTensor
    TensorMetadata = open_inference_pb2.ModelMetadataResponse.TensorMetadata

STATUS = "status"
"""The output that says whether a customer was scored, by the names of `Status`."""

_CHANGING_THE_VALUES = ("classification", "shared_memory_region")
"""Parameters by which a client means other values than the message holds. To pass them over would be a wrong answer."""


@dataclass(frozen=True)
class _Figures:
    """An output of numbers, NaN for who was not scored."""

    name: str
    pick: Callable[[Scores], NDArray[np.float32]]
    datatype: ClassVar[str] = "FP32"

    def raw(self, scores: Scores) -> bytes:
        return self.pick(scores).astype("<f4", copy=False).tobytes()

    def fill(self, contents: InferTensorContents, scores: Scores) -> None:
        fill(contents, {"fp32_contents": self.pick(scores)})


class _Words:
    """An output of words out of a few; `pick` gives the index of each customer's."""

    datatype: ClassVar[str] = TEXT

    def __init__(self, name: str, words: Sequence[str], pick: Callable[[Scores], NDArray[Any]]) -> None:
        self.name = name
        self._words = [word.encode() for word in words]
        self._raw = [LENGTH.pack(len(word)) + word for word in self._words]
        self._pick = pick

    def raw(self, scores: Scores) -> bytes:
        return b"".join([self._raw[index] for index in self._pick(scores).tolist()])

    def fill(self, contents: InferTensorContents, scores: Scores) -> None:
        contents.bytes_contents.extend([self._words[index] for index in self._pick(scores).tolist()])


class TensorCodec:
    """Decodes requests for one schema, and encodes its scores."""

    def __init__(self, schema: Schema, max_rows: int) -> None:
        """Raises BundleError where two outputs would bear one name."""
        self._features: dict[str, Feature] = {feature.name: feature for feature in schema.features}
        self._required = {feature.name for feature in schema.features if not feature.nullable}
        self._numeric = {feature.name: place for place, feature in enumerate(schema.numeric)}
        self._categorical = {feature.name: place for place, feature in enumerate(schema.categorical)}
        self._requirements = Requirements(schema)
        self._max_rows = max_rows
        outputs = [*(made for output in schema.outputs for made in _outputs_of(output)), _statuses()]
        self._outputs = {output.name: output for output in outputs}
        if len(self._outputs) < len(outputs):
            raise BundleError("an output bears the name of what is told beside the outputs; rename it and retrain")

    def describe_inputs(self) -> list[TensorMetadata]:
        return [_describe(name, TEXT if name in self._categorical else "FP32") for name in self._features]

    def describe_outputs(self) -> list[TensorMetadata]:
        return [_describe(output.name, output.datatype) for output in self._outputs.values()]

    def decode(self, request: ModelInferRequest) -> Columns:
        """One row a customer, in the order of the tensors' values. Checks the wanted outputs too.

        Raises:
            Refusal: INVALID, with every violation.
        """
        for field in ("inputs", "outputs"):
            if len(getattr(request, field)) > MOST_COLUMNS:
                _refuse([Violation(field, f"must hold at most {MOST_COLUMNS} tensors")])
        inputs = Inputs(request)
        _refuse(
            [
                *self._check_features(inputs),
                *_check_names("outputs", [output.name for output in request.outputs], self._outputs, "an output"),
                *_check_parameters("inputs", request.inputs),
                *_check_parameters("outputs", request.outputs),
                *inputs.check_form(),
                *inputs.check_counts(self._max_rows),
            ]
        )
        columns = self._read(inputs)
        _refuse(self._requirements.unmet(columns, lambda name, row: f"{inputs.path(inputs.names.index(name))}[{row}]"))
        return columns

    def encode(self, scores: Scores, request: ModelInferRequest, response: ModelInferResponse) -> None:
        """Adds the wanted outputs, raw where the request was."""
        for name in [output.name for output in request.outputs] or self._outputs:
            output = self._outputs[name]
            tensor = response.outputs.add(name=name, datatype=output.datatype, shape=[len(scores)])
            if request.raw_input_contents:
                response.raw_output_contents.append(output.raw(scores))
            else:
                output.fill(tensor.contents, scores)

    def _check_features(self, inputs: Inputs) -> Iterator[Violation]:
        for name in sorted(self._required.difference(inputs.names)):
            yield Violation(f"inputs[{quote(name)}]", "is required")
        yield from _check_names("inputs", inputs.names, self._features, "a feature")
        for at, (name, datatype) in enumerate(zip(inputs.names, inputs.datatypes, strict=True)):
            if name in self._categorical and datatype != TEXT:
                yield Violation(f"inputs[{at}].datatype", f"must be {TEXT}: {quote(name)} is categorical")
            if name in self._numeric and datatype not in NUMBERS:
                wanted = ", ".join(NUMBERS)
                yield Violation(f"inputs[{at}].datatype", f"must be one of {wanted}: {quote(name)} is numeric")

    def _read(self, inputs: Inputs) -> Columns:
        rows = inputs.counts[0]
        numeric = np.full((rows, len(self._numeric)), np.nan, np.float32)
        categorical = np.full((rows, len(self._categorical)), MISSING_CATEGORY, object)
        numbers: dict[str, tuple[list[int], list[bytes]]] = {}
        violations = []
        for at, name in enumerate(inputs.names):
            try:
                if name in self._categorical:
                    categorical[:, self._categorical[name]] = inputs.texts(at)
                else:
                    places, values = numbers.setdefault(inputs.datatypes[at], ([], []))
                    places.append(self._numeric[name])
                    values.append(inputs.numbers(at))
            except UnfitError as unfit:
                violations.append(unfit.violation)
        _refuse(violations)
        # What is beyond float32 becomes infinite, and is refused as that.
        with np.errstate(over="ignore", invalid="ignore"):
            for datatype, (places, values) in numbers.items():
                # All tensors of a type at once: for a single customer, making an array takes longer than filling it.
                numeric[:, places] = np.frombuffer(b"".join(values), inputs.layout(datatype)).reshape(-1, rows).T
        return Columns(numeric, categorical)


def _refuse(violations: Sequence[Violation]) -> None:
    if violations:
        # Triton's client shows its caller the text and no details.
        first, others = violations[0], len(violations) - 1
        text = f"{first.field} {first.description}" + (f" (and {others} more)" if others else "")
        raise Refusal(INVALID, violations, text=text)


def _check_names(field: str, names: Sequence[str], known: Mapping[str, Any], what: str) -> Iterator[Violation]:
    seen: set[str] = set()
    for at, name in enumerate(names):
        if name not in known:
            yield Violation(f"{field}[{at}].name", f"{quote(name)} is not {what} of this model")
        elif name in seen:
            yield Violation(f"{field}[{at}].name", f"{quote(name)} stands earlier in this request")
        seen.add(name)


def _check_parameters(field: str, tensors: Iterable[InputTensor | RequestedOutput]) -> Iterator[Violation]:
    for at, tensor in enumerate(tensors):
        parameters = tensor.parameters
        for name in _CHANGING_THE_VALUES:
            if name in parameters:
                yield Violation(f'{field}[{at}].parameters["{name}"]', "is not supported; leave it out")


def _outputs_of(output: Output) -> Iterator[_Figures | _Words]:
    """The value, and what is read off it."""
    name = output.name
    yield _Figures(name, lambda scores: scores.values[name])
    if output.reference:
        yield _Figures(f"{name}.percentile", lambda scores: scores.percentiles[name])
    if output.bands:
        # Index -1, of who is in none, takes the last entry.
        words = [*(band.name for band in output.bands), ""]
        yield _Words(f"{name}.band", words, lambda scores: scores.bands[name])


def _statuses() -> _Words:
    names = {status.value: status.name for status in Status}
    return _Words(STATUS, [names.get(value, "") for value in range(max(names) + 1)], lambda scores: scores.statuses)


def _describe(name: str, datatype: str) -> TensorMetadata:
    return open_inference_pb2.ModelMetadataResponse.TensorMetadata(name=name, datatype=datatype, shape=[-1])
