from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from model_registry.bundle import BundleError
from model_registry.columns import Scores
from model_registry.schema import Output
from regulars.open_inference.v2 import open_inference_pb2
from regulars.scoring.v1 import scoring_pb2
from services.core.codec import Codec
from services.core.errors import INVALID, MAX_VIOLATIONS, Refusal
from services.core.open_inference_codec import TensorCodec
from services.core.open_inference_inputs import NUMBERS
from services.core.violations import MOST_COLUMNS
from tests.support.bundles import CLTV_SCHEMA, SCHEMA
from tests.support.scores import bits
from tests.support.tensors import FIELDS, Values, answers_of, infer, raw_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from regulars.open_inference.v2.open_inference_pb2 import ModelInferRequest

NAN = float("nan")
INF = float("inf")
MAX_ROWS = 50

codec = TensorCodec(SCHEMA, MAX_ROWS)

STRICT = TensorCodec(
    replace(SCHEMA, features=(*SCHEMA.features[:2], replace(SCHEMA.features[2], nullable=False))), MAX_ROWS
)
"""A channel is required too."""

either_form = pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])


def floats(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32)


def two(**inputs: Values) -> dict[str, Values]:
    """Two customers; recency is there unless the inputs have their own."""
    return {"recency_days": floats(1, 2), **inputs}


def refusal_of(request: ModelInferRequest, of: TensorCodec = codec) -> Refusal:
    with pytest.raises(Refusal) as refused:
        of.decode(request)
    assert refused.value.kind is INVALID
    return refused.value


def violations(request: ModelInferRequest, of: TensorCodec = codec) -> list[tuple[str, str]]:
    return [(violation.field, violation.description) for violation in refusal_of(request, of).violations]


@either_form
@pytest.mark.parametrize("datatype", NUMBERS)
def test_a_numeric_feature_may_come_as_any_number(datatype: str, raw: bool) -> None:
    numbers = np.array([3, 100], NUMBERS[datatype].raw)
    request = infer(two(recency_days=numbers, frequency=numbers[::-1].copy()), raw=raw)
    assert [tensor.datatype for tensor in request.inputs] == [datatype, datatype]
    columns = codec.decode(request)
    assert columns.numeric.dtype == np.float32
    assert columns.numeric.tolist() == [[3, 100], [100, 3]]


@either_form
def test_tensors_become_rows_whatever_their_order_and_their_types(raw: bool) -> None:
    mixed: dict[str, Values] = {
        "channel": ["kiosk", "", "web"],
        "frequency": np.array([1.5, NAN, 3], np.float64),
        "recency_days": np.array([4, 5, 6], np.int64),
    }
    columns = codec.decode(infer(mixed, raw=raw))
    np.testing.assert_array_equal(columns.numeric, np.array([[4, 1.5], [5, NAN], [6, 3]], np.float32))
    assert columns.categorical.tolist() == [["kiosk"], [""], ["web"]]


@either_form
def test_a_column_of_one_is_a_column(raw: bool) -> None:
    request = infer(two(channel=["web", "shop"]), raw=raw)
    request.inputs[1].shape.append(1)
    columns = codec.decode(request)
    assert columns.numeric[:, 0].tolist() == [1, 2]
    assert columns.categorical.tolist() == [["web"], ["shop"]]


@either_form
def test_what_may_be_missing_may_be_left_out_nan_or_empty(raw: bool) -> None:
    left_out = codec.decode(infer(two(), raw=raw))
    said_so = codec.decode(infer(two(frequency=floats(NAN, NAN), channel=["", ""]), raw=raw))
    for columns in (left_out, said_so):
        assert np.isnan(columns.numeric).tolist() == [[False, True]] * 2
        assert columns.categorical.tolist() == [[""], [""]]


@given(st.floats() | st.integers(-(2**53), 2**53), st.booleans())
def test_a_number_is_rounded_as_that_of_a_customer(number: float, raw: bool) -> None:
    """The bits do not depend on the way in, and neither does a refusal."""
    given_ = np.array([number], np.int64 if isinstance(number, int) else np.float64)
    customer = scoring_pb2.Customer(id="c", numeric={"recency_days": 1, "frequency": number})
    request = infer({"recency_days": floats(1), "frequency": given_}, raw=raw)
    try:
        expected = Codec(SCHEMA, MAX_ROWS).decode_customer(customer).numeric
    except Refusal:
        path = "raw_input_contents[1]" if raw else "inputs[1].contents.fp64_contents"
        assert violations(request) == [(f"{path}[0]", "is infinite or beyond float32")]
    else:
        assert (bits(codec.decode(request).numeric) == bits(expected)).all()


@given(st.lists(st.text(), min_size=1, max_size=MAX_ROWS), st.booleans())
def test_texts_arrive_as_they_were_sent(texts: list[str], raw: bool) -> None:
    request = infer({"recency_days": np.zeros(len(texts), np.int8), "channel": texts}, raw=raw)
    assert codec.decode(request).categorical[:, 0].tolist() == texts


@given(st.binary(max_size=40), st.integers(1, 5))
def test_any_bytes_are_texts_or_refused(data: bytes, rows: int) -> None:
    request = infer({"recency_days": np.zeros(rows, np.float32), "channel": [""] * rows}, raw=True)
    request.raw_input_contents[1] = data
    try:
        texts = codec.decode(request).categorical[:, 0].tolist()
    except Refusal:
        assert [field for field, _ in violations(request)] == ["raw_input_contents[1]"]
    else:
        assert raw_of(texts) == data


def test_contents_that_hold_nothing_may_stand_beside_raw_ones() -> None:
    request = infer(two(channel=["web", ""]), raw=True)
    for tensor in request.inputs:
        tensor.contents.SetInParent()
    assert codec.decode(request).categorical.tolist() == [["web"], [""]]


def changed(change: Callable[[ModelInferRequest], object], *, raw: bool = True) -> ModelInferRequest:
    """A good request with one thing wrong."""
    request = infer(two(frequency=floats(3, 4), channel=["web", ""]), raw=raw)
    codec.decode(request)
    change(request)
    return request


REGION = open_inference_pb2.InferParameter(string_param="region")

SHAPE = "must be [N] or [N, 1], with N customers"
NUMERIC = f"must be one of {', '.join(NUMBERS)}"
BESIDE = "must hold one value a customer, 2, beside nothing else"
TEXTS = "must hold 2 texts, each after its length in 4 bytes"

MISFITS: dict[str, tuple[ModelInferRequest, list[tuple[str, str]]]] = {
    "no inputs": (infer({}, raw=False), [('inputs["recency_days"]', "is required"), ("inputs", "must not be empty")]),
    "missing feature": (infer({"frequency": floats(1)}, raw=True), [('inputs["recency_days"]', "is required")]),
    "unknown feature": (
        infer(two(age=floats(1, 2)), raw=True),
        [("inputs[1].name", '"age" is not a feature of this model')],
    ),
    "a feature twice": (
        changed(lambda request: setattr(request.inputs[1], "name", "recency_days")),
        [("inputs[1].name", '"recency_days" stands earlier in this request')],
    ),
    "numbers for texts": (
        infer(two(channel=floats(1, 2)), raw=True),
        [("inputs[1].datatype", 'must be BYTES: "channel" is categorical')],
    ),
    "texts for numbers": (
        infer(two(frequency=["1", "2"]), raw=True),
        [("inputs[1].datatype", f'{NUMERIC}: "frequency" is numeric')],
    ),
    "truth values": (
        changed(lambda request: setattr(request.inputs[1], "datatype", "BOOL")),
        [("inputs[1].datatype", f'{NUMERIC}: "frequency" is numeric')],
    ),
    "no shape": (changed(lambda request: request.inputs[0].ClearField("shape")), [("inputs[0].shape", SHAPE)]),
    "a row of many": (changed(lambda request: request.inputs[1].shape.insert(0, 1)), [("inputs[1].shape", SHAPE)]),
    "another number of customers": (
        infer(two(frequency=floats(1)), raw=True),
        [("inputs[1].shape", "must tell as many customers as that of inputs[0]")],
    ),
    "nobody": (
        infer({"recency_days": floats()}, raw=True),
        [("inputs[0].shape", "must tell 1 to 50 customers; split what is more")],
    ),
    "too many customers": (
        infer({"recency_days": np.zeros(51, np.float32)}, raw=True),
        [("inputs[0].shape", "must tell 1 to 50 customers; split what is more")],
    ),
    "a number of customers beyond reason": (
        changed(lambda request: [tensor.shape.__setitem__(0, 2**62) for tensor in request.inputs]),
        [("inputs[0].shape", "must tell 1 to 50 customers; split what is more")],
    ),
    "fewer than nobody": (
        changed(lambda request: [tensor.shape.__setitem__(0, -7) for tensor in request.inputs]),
        [("inputs[0].shape", "must tell 1 to 50 customers; split what is more")],
    ),
    "too few bytes": (
        changed(lambda request: request.raw_input_contents.__setitem__(0, b"\0" * 7)),
        [("raw_input_contents[0]", "must hold 8 bytes, holds 7")],
    ),
    "too many bytes": (
        changed(lambda request: request.raw_input_contents.__setitem__(1, b"\0" * 9)),
        [("raw_input_contents[1]", "must hold 8 bytes, holds 9")],
    ),
    "a text too few": (
        changed(lambda request: request.raw_input_contents.__setitem__(2, raw_of(["web"]))),
        [("raw_input_contents[2]", TEXTS)],
    ),
    "a text too many": (
        changed(lambda request: request.raw_input_contents.__setitem__(2, raw_of(["web", "", ""]))),
        [("raw_input_contents[2]", TEXTS)],
    ),
    "a length beyond the end": (
        changed(lambda request: request.raw_input_contents.__setitem__(2, b"\xff\xff\xff\xffweb")),
        [("raw_input_contents[2]", TEXTS)],
    ),
    "a text that is none": (
        changed(lambda request: request.raw_input_contents.__setitem__(2, b"\1\0\0\0\xff\0\0\0\0")),
        [("raw_input_contents[2]", "must hold texts in UTF-8")],
    ),
    "raw contents missing": (
        changed(lambda request: request.raw_input_contents.pop()),
        [("raw_input_contents", "must hold one entry for each of the 3 inputs, or none")],
    ),
    "raw and typed": (
        changed(lambda request: request.inputs[1].contents.fp32_contents.extend([1, 2])),
        [("inputs[1].contents", "must be left out beside raw_input_contents")],
    ),
    "too few values": (
        changed(lambda request: request.inputs[0].contents.fp32_contents.pop(), raw=False),
        [("inputs[0].contents.fp32_contents", BESIDE)],
    ),
    "a text too few, typed": (
        changed(lambda request: request.inputs[2].contents.bytes_contents.pop(), raw=False),
        [("inputs[2].contents.bytes_contents", BESIDE)],
    ),
    "values of two types": (
        changed(lambda request: request.inputs[0].contents.int_contents.append(1), raw=False),
        [("inputs[0].contents.fp32_contents", BESIDE)],
    ),
    "texts beside numbers": (
        changed(lambda request: request.inputs[2].contents.fp32_contents.append(1), raw=False),
        [("inputs[2].contents.bytes_contents", BESIDE)],
    ),
    "values of another type": (
        changed(lambda request: setattr(request.inputs[0], "datatype", "INT64"), raw=False),
        [("inputs[0].contents.int64_contents", BESIDE)],
    ),
    "no values": (
        changed(lambda request: request.inputs[1].ClearField("contents"), raw=False),
        [("inputs[1].contents.fp32_contents", BESIDE)],
    ),
    "shared memory": (
        changed(lambda request: request.inputs[0].parameters["shared_memory_region"].MergeFrom(REGION)),
        [('inputs[0].parameters["shared_memory_region"]', "is not supported; leave it out")],
    ),
    "unknown output": (
        infer(two(), raw=True, outputs=["status", "churn"]),
        [("outputs[1].name", '"churn" is not an output of this model')],
    ),
    "an output twice": (
        infer(two(), raw=True, outputs=["status", "status"]),
        [("outputs[1].name", '"status" stands earlier in this request')],
    ),
    "classes": (
        changed(lambda request: request.outputs.add(name="status").parameters["classification"].MergeFrom(REGION)),
        [('outputs[0].parameters["classification"]', "is not supported; leave it out")],
    ),
    "more outputs than there can be": (
        infer(two(), raw=True, outputs=["status"] * (MOST_COLUMNS + 1)),
        [("outputs", "must hold at most 1000 tensors")],
    ),
    "more inputs than there can be": (
        infer({f"f{at}": floats(1) for at in range(MOST_COLUMNS + 1)}, raw=True),
        [("inputs", "must hold at most 1000 tensors")],
    ),
    "NaN where required": (
        infer(two(recency_days=floats(1, NAN)), raw=True),
        [("raw_input_contents[0][1]", "is required")],
    ),
    "NaN where required, typed": (
        infer(two(recency_days=floats(1, NAN)), raw=False),
        [("inputs[0].contents.fp32_contents[1]", "is required")],
    ),
    "infinity": (
        infer(two(frequency=floats(-INF, 1)), raw=True),
        [("raw_input_contents[1][0]", "is infinite or beyond float32")],
    ),
    "beyond float32": (
        infer(two(frequency=np.array([1, 1e39])), raw=False),
        [("inputs[1].contents.fp64_contents[1]", "is infinite or beyond float32")],
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_by_its_path(case: str) -> None:
    request, expected = MISFITS[case]
    assert violations(request) == expected


@either_form
def test_a_required_text_may_not_be_empty_or_left_out(raw: bool) -> None:
    path = "raw_input_contents[1]" if raw else "inputs[1].contents.bytes_contents"
    assert violations(infer(two(channel=["web", ""]), raw=raw), STRICT) == [(f"{path}[1]", "is required")]
    assert violations(infer(two(), raw=raw), STRICT) == [('inputs["channel"]', "is required")]


def test_the_text_tells_the_first_violation_to_those_who_see_no_details() -> None:
    request = infer({"frequency": floats(1), "age": floats(1)}, raw=True)
    refusal = refusal_of(request)
    assert refusal.to_status().message == 'inputs["recency_days"] is required (and 1 more)'
    request = infer(two(recency_days=floats(1, NAN)), raw=True)
    assert refusal_of(request).to_status().message == "raw_input_contents[0][1] is required"


def test_many_violations_are_counted_and_the_first_are_listed() -> None:
    refusal = refusal_of(infer({"recency_days": np.full(MAX_ROWS, np.inf)}, raw=True))
    assert len(refusal.violations) == MAX_ROWS > MAX_VIOLATIONS
    listed = error_details_pb2.BadRequest()
    assert any(detail.Unpack(listed) for detail in refusal.to_status().details)
    assert len(listed.field_violations) == MAX_VIOLATIONS


def test_parameters_that_change_no_value_are_passed_over() -> None:
    request = infer(two(), raw=True, outputs=["status"])
    request.parameters["priority"].uint64_param = 1
    request.inputs[0].parameters["binary_data_size"].int64_param = 8
    request.outputs[0].parameters["binary_data"].bool_param = True
    assert len(codec.decode(request)) == 2


SCORES = Scores(
    statuses=np.array([1, 3, 2, 4], np.uint8),
    values={"churn_probability": floats(0.75, NAN, NAN, NAN)},
    percentiles={"churn_probability": floats(75.1, NAN, NAN, NAN)},
    bands={"churn_probability": np.array([2, -1, -1, -1], np.int8)},
    warnings=(),
)


def answers(request: ModelInferRequest, of: TensorCodec = codec, scores: Scores = SCORES) -> dict[str, Values]:
    response = open_inference_pb2.ModelInferResponse()
    of.encode(scores, request, response)
    assert bool(response.raw_output_contents) == bool(request.raw_input_contents)
    return answers_of(response)


@either_form
def test_an_answer_holds_values_what_is_read_off_them_and_who_was_scored(raw: bool) -> None:
    given_ = answers(infer(two(), raw=raw))
    assert list(given_) == ["churn_probability", "churn_probability.percentile", "churn_probability.band", "status"]
    np.testing.assert_array_equal(given_["churn_probability"], SCORES.values["churn_probability"])
    np.testing.assert_array_equal(given_["churn_probability.percentile"], SCORES.percentiles["churn_probability"])
    assert given_["churn_probability.band"] == ["HIGH", "", "", ""]
    assert given_["status"] == ["OK", "INACTIVE", "INSUFFICIENT_HISTORY", "NO_CONSENT"]


@either_form
def test_only_what_is_wanted_is_answered_in_the_order_of_the_wish(raw: bool) -> None:
    wanted = ["status", "churn_probability"]
    assert list(answers(infer(two(), raw=raw, outputs=wanted))) == wanted


def test_an_output_without_reference_or_bands_is_its_value_alone() -> None:
    names = [tensor.name for tensor in TensorCodec(CLTV_SCHEMA, MAX_ROWS).describe_outputs()]
    assert names == [
        *("expected_value", "expected_value.percentile", "expected_value.band"),
        *("lower_bound", "upper_bound", "status"),
    ]


def test_inputs_and_outputs_describe_themselves() -> None:
    inputs = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in codec.describe_inputs()]
    assert inputs == [("recency_days", "FP32", [-1]), ("frequency", "FP32", [-1]), ("channel", "BYTES", [-1])]
    outputs = {tensor.name: tensor.datatype for tensor in codec.describe_outputs()}
    given_ = answers(infer(two(), raw=True))
    assert {name: "BYTES" if isinstance(values, list) else "FP32" for name, values in given_.items()} == outputs


def test_a_bundle_whose_output_bears_the_name_of_the_status_is_refused() -> None:
    schema = replace(SCHEMA, outputs=(*SCHEMA.outputs, Output("status", "")))
    with pytest.raises(BundleError, match="rename"):
        TensorCodec(schema, MAX_ROWS)


def test_every_datatype_is_tested_in_its_field() -> None:
    assert {name: number.field for name, number in NUMBERS.items()} | {"BYTES": "bytes_contents"} == FIELDS
